package tunnel

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestKeepAlive(t *testing.T) {
	ours, _ := sockets(t)
	keepAlive(wrapped{ours})
	if got, want := option(t, ours, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT), int(time.Minute.Milliseconds()); got != want {
		t.Errorf("TCP_USER_TIMEOUT is %d ms, want %v", got, want)
	}
	if option(t, ours, unix.SOL_SOCKET, unix.SO_KEEPALIVE) == 0 {
		t.Error("keep-alive is off")
	}
}

func option(t *testing.T, nc net.Conn, level, name int) int {
	t.Helper()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var got int
	if cerr := raw.Control(func(fd uintptr) {
		got, err = unix.GetsockoptInt(int(fd), level, name)
	}); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return got
}

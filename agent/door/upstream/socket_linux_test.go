package upstream

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func checkUserTimeout(t *testing.T, nc net.Conn) {
	t.Helper()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var got int
	if cerr := raw.Control(func(fd uintptr) {
		got, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
	}); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	if want := time.Minute; time.Duration(got)*time.Millisecond != want {
		t.Errorf("TCP_USER_TIMEOUT is %d ms, want %v", got, want)
	}
}

package membership

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// dialAs connects to a node's port from another node's machine.
func (nd *node) dialAs(t *testing.T, from *node, port string) net.Conn {
	t.Helper()
	conn, err := from.host.DialContext(t.Context(), "tcp", net.JoinHostPort(nd.host.IP(), port))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return conn
}

// ended reports whether the other side closes conn within d.
func ended(conn net.Conn, d time.Duration) bool {
	conn.SetReadDeadline(time.Now().Add(d))
	_, err := io.Copy(io.Discard, conn)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

func TestInboundEndsBadConnections(t *testing.T) {
	for name, tc := range map[string]struct {
		send  []byte
		after time.Duration
	}{
		"packet too large":  {[]byte{0, 1, 0, 1}, 0},
		"empty packet":      {[]byte{0, 0, 0, 0}, 0},
		"silence":           {nil, packetIdle},
		"half a packet":     {[]byte{0, 0, 0, 9, 'x'}, packetIdle},
		"nonsense, silence": {appendFrame(nil, []byte("\xff nonsense")), packetIdle},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				defer c.stop()
				nd, other := c.add(), c.add()
				nd.start()
				conn := nd.dialAs(t, other, packetPort)
				defer conn.Close()
				if _, err := conn.Write(tc.send); err != nil {
					t.Fatal(err)
				}
				if tc.after > 0 && ended(conn, tc.after-time.Millisecond) {
					t.Error("ended too early")
				}
				if !ended(conn, 2*time.Millisecond) {
					t.Error("not ended")
				}
			})
		})
	}
}

func TestInboundEvictsOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		nd, other, third := c.add(), c.add(), c.add()
		nd.start()
		var conns []net.Conn
		for range packetsPerPeer + 2 {
			conns = append(conns, nd.dialAs(t, other, packetPort))
		}
		conns = append(conns, nd.dialAs(t, third, packetPort)) // of no concern
		for i, conn := range conns {
			if got, want := ended(conn, time.Millisecond), i < 2; got != want {
				t.Errorf("connection %d: ended %v", i, got)
			}
			conn.Close()
		}
		synctest.Wait()
		if left := len(nd.m.fabric.in.byPeer); left != 0 {
			t.Errorf("%d peers remembered", left)
		}
	})
}

func TestInboundBoundsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		nd, other := c.add(), c.add()
		nd.start()
		var conns []net.Conn
		for range maxStreams + 1 {
			conns = append(conns, nd.dialAs(t, other, streamPort))
		}
		if !ended(conns[maxStreams], time.Millisecond) {
			t.Error("one stream too many was taken")
		}
		if ended(conns[0], time.Millisecond) {
			t.Error("the first stream was ended")
		}
		time.Sleep(streamTimeout) // memberlist gives them up
		another := nd.dialAs(t, other, streamPort)
		if ended(another, time.Millisecond) {
			t.Error("no stream is taken after the others have ended")
		}
		for _, conn := range append(conns, another) {
			conn.Close()
		}
	})
}

func TestStreamReadsABoundedNumberOfBytes(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	closed := 0
	s := newStream(a, func() error { closed++; return a.Close() })
	go func() {
		chunk := make([]byte, 1<<20)
		for {
			if _, err := b.Write(chunk); err != nil {
				return
			}
		}
	}()
	if n, err := io.Copy(io.Discard, s); n != maxStreamBytes || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	s.Close()
	s.Close()
	if closed != 1 {
		t.Errorf("closed %d times", closed)
	}
}

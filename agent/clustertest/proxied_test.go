package clustertest

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// A door that is told so serves who comes through a trusted proxy and says whose the
// connection is, and nobody else; after a restart at once, for it remembers whom it trusts.
func TestProxyProtocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 1, func(n *Node) { n.Config.Door.ProxyProtocol = true })
		n := c.Node(1)
		status := func(header string) int {
			conn, err := c.User.DialContext(context.Background(), "tcp", n.Config.Door.Listen)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, header+"GET /usher/status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				return 0
			}
			resp.Body.Close()
			return resp.StatusCode
		}
		const header = "PROXY TCP4 192.0.2.7 198.51.100.1 51234 80\r\n"
		if got := status(header); got != 0 {
			t.Errorf("nobody is trusted: %d", got)
		}
		set(t, n, "door.trusted_networks", "10.9.9.0/24")
		c.Eventually(10*time.Second, "an answer through the proxy", func() bool { return status(header) == http.StatusOK })
		if got := status(""); got != 0 {
			t.Errorf("without a header: %d", got)
		}
		time.Sleep(time.Minute) // the cache of the state is written
		n.Stop()
		n.Start()
		n.WaitReady()
		if got := status(header); got == 0 {
			t.Error("not trusted after a restart")
		}
	})
}

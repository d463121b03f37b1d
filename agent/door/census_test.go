package door

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestCensus(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	var c census
	l := limits{all: 4, perAddr: 2}
	for i, step := range []struct {
		addr  netip.Addr
		leave bool
		want  error
	}{
		{a, false, nil}, {a, false, nil}, {a, false, errTooManyHere}, {b, false, nil}, {netip.Addr{}, false, nil},
		{netip.Addr{}, false, errTooMany}, {b, false, errTooMany}, {a, true, nil}, {a, false, nil}, {a, true, nil}, {a, true, nil},
		{b, true, nil}, {netip.Addr{}, true, nil},
	} {
		if step.leave {
			c.leave(step.addr)
			continue
		}
		if err := c.enter(step.addr, l); !errors.Is(err, step.want) {
			t.Errorf("step %d: %v, want %v", i, err, step.want)
		}
	}
	if c.count() != 0 || len(c.perAddr) != 0 {
		t.Errorf("%d are counted in the end, of %d addresses", c.count(), len(c.perAddr))
	}
	for range 100 {
		if err := c.enter(a, limits{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConnectionLimits(t *testing.T) {
	for _, c := range []struct{ descriptors, set, want int }{
		{0, 0, 0}, {0, 7, 7}, {1256, 0, 500}, {1256, 100, 100}, {1256, 900, 500}, {100, 0, 1},
	} {
		d := &Door{cfg: Config{Descriptors: c.descriptors, Settings: func() *Settings {
			return &Settings{Traffic: TrafficSettings{MaxConnections: c.set}}
		}}}
		if l := d.connectionLimits(); l.all != c.want {
			t.Errorf("%d descriptors, %d set: %d, want %d", c.descriptors, c.set, l.all, c.want)
		}
	}
}

// Who comes when there are too many is told so, and when one has gone the next is served.
func TestTooManyConnections(t *testing.T) {
	bubble(t, 1, func(s *site) {
		nd := s.nodes[0]
		open := func() net.Conn {
			c, err := s.users.DialContext(context.Background(), "tcp", nd.ip+":80")
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return c
		}
		told := func() (int, string) {
			c := open()
			defer c.Close()
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			return resp.StatusCode, resp.Header.Get("Retry-After") + resp.Header.Get(fieldError)
		}
		s.change(func(c *Settings) { c.Traffic.MaxConnections = 2 })
		first, second := open(), open()
		if status, why := told(); status != 503 || why != "5too_many_connections" {
			t.Errorf("the third: %d %s", status, why)
		}
		s.change(func(c *Settings) { c.Traffic.MaxConnections, c.Traffic.MaxConnectionsPerAddress = 0, 2 })
		if status, why := told(); status != 429 || why != "5too_many_connections_of_address" {
			t.Errorf("the third of an address: %d %s", status, why)
		}
		s.change(func(c *Settings) { c.TrustedNetworks = prefixes("10.9.0.0/16") })
		if status, _ := told(); status != 200 {
			t.Errorf("the third of a proxy: %d", status)
		}
		s.change(func(c *Settings) { c.TrustedNetworks = nil })
		_ = first.Close()
		synctest.Wait()
		time.Sleep(time.Second)
		if status, _ := told(); status != 200 {
			t.Errorf("when one has gone: %d", status)
		}
		_ = second.Close()
		time.Sleep(2 * time.Second)
		if n := nd.door.census.count(); n != 0 {
			t.Errorf("%d connections are counted in the end", n)
		}
	})
}

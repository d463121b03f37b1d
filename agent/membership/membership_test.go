package membership

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ushercluster/usher/agent/peer"
)

func TestConverges(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			bubble(t, n, func(t *testing.T, c *cluster) {
				c.settle(5 * time.Second)
				for _, nd := range c.nodes {
					nd.checkList()
				}
				last := c.nodes[n-1]
				got, ok := c.nodes[0].m.Peer(last.id)
				want := peer.Peer{ID: last.id, Boot: 1, Name: last.host.Name(), Addr: last.advertise,
					Version: "1.2.3", Class: peer.ClassServer, Status: peer.StatusAlive}
				if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(peer.Peer{}, "Since")); !ok || diff != "" {
					t.Errorf("peer (-want +got):\n%s", diff)
				}
				if age := time.Since(got.Since); age < 0 || age > 6*time.Second {
					t.Errorf("alive since %v", got.Since)
				}
			})
		})
	}
}

func TestSteadyClusterHasNoSuspects(t *testing.T) {
	bubble(t, 5, func(t *testing.T, c *cluster) {
		c.settle(5 * time.Second)
		for range 1200 {
			time.Sleep(100 * time.Millisecond)
			if !c.agree(c.nodes) {
				t.Fatalf("a healthy node is not alive: %v", c.nodes[0].describe())
			}
		}
	})
}

func TestAdvertisedByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		for range 3 {
			nd := c.add()
			nd.advertise = nd.host.Name() + ":" + packetPort
		}
		for _, nd := range c.nodes { // a ring of names
			nd.contacts = []string{c.nodes[0].advertise}
			nd.start()
		}
		c.settle(5 * time.Second)
		if p, _ := c.nodes[1].m.Peer(c.nodes[2].id); p.Addr != "node-3:14747" {
			t.Errorf("address %q", p.Addr)
		}
		time.Sleep(20 * time.Second) // probes reach them by name
		if !c.agree(c.nodes) {
			t.Errorf("%v", c.nodes[0].describe())
		}
	})
}

func TestChangedCoalesces(t *testing.T) {
	bubble(t, 3, func(t *testing.T, c *cluster) {
		c.settle(5 * time.Second)
		m := c.nodes[0].m
		second, cancel := m.Subscribe()
		<-m.Changed()
		synctest.Wait()
		select {
		case <-m.Changed():
			t.Error("two notices waited")
		default:
		}
		c.nodes[2].kill()
		c.within(15*time.Second, "failed", func() bool { return c.nodes[0].status(c.nodes[2]) == peer.StatusFailed })
		for name, ch := range map[string]<-chan struct{}{"changed": m.Changed(), "subscription": second} {
			select {
			case <-ch:
			default:
				t.Errorf("%s: no notice", name)
			}
		}
		cancel()
		cancel()
		c.nodes[2].boot++
		c.nodes[2].start()
		c.settle(5 * time.Second)
		select {
		case <-second:
			t.Error("a notice after cancel")
		default:
		}
	})
}

func TestContactByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		first, second := c.add(), c.add()
		first.contacts = []string{"node-1:" + packetPort} // ourselves, under a name
		second.contacts = []string{"nobody:" + packetPort, "node-1:" + packetPort, second.advertise}
		first.start()
		second.start()
		c.settle(time.Second)
		time.Sleep(5 * joinEvery)
		for _, nd := range c.nodes { // who is behind a name is remembered
			if n := nd.joins.Load(); n != 1 {
				t.Errorf("%s dialled contacts %d times", nd.host.Name(), n)
			}
		}
	})
}

// Machines that start together meet as soon as the one that all were told of is there.
func TestContactThatComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		for range 3 {
			c.add()
		}
		for _, nd := range c.nodes {
			nd.contacts = []string{c.nodes[2].advertise}
		}
		c.nodes[0].start()
		c.nodes[1].start()
		time.Sleep(3 * time.Second)
		c.nodes[2].start()
		c.settle(2 * newsEvery)
	})
}

func TestLifetime(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		m := c.nodes[0].m
		synctest.Wait()
		if err := m.Run(t.Context()); err == nil {
			t.Error("two runs at a time")
		}
		if err := m.Close(); err != nil { // ends Run
			t.Error(err)
		}
		if m.life.running {
			t.Error("Close returned before Run")
		}
		c.nodes[0].ran.Wait()
		if err := m.Run(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("run after close: %v", err)
		}
		if err := m.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
		m.Report(peer.Load{}) // harmless
	})
}

func TestOpenRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"id":          {func(c *Config) { c.Self = "short" }, "node id"},
		"no port":     {func(c *Config) { c.Advertise = "10.0.0.1" }, "want host:port"},
		"port 0":      {func(c *Config) { c.Advertise = "10.0.0.1:0" }, "port must be"},
		"no host":     {func(c *Config) { c.Advertise = ":1" }, "host must have"},
		"wildcard":    {func(c *Config) { c.Advertise = "0.0.0.0:1" }, "all interfaces"},
		"wildcard v6": {func(c *Config) { c.Advertise = "[::]:1" }, "all interfaces"},
		"long host":   {func(c *Config) { c.Advertise = strings.Repeat("a", 254) + ":1" }, "host must have"},
		"no Dial":     {func(c *Config) { c.Dial = nil }, "required"},
		"no PeerOf":   {func(c *Config) { c.PeerOf = nil }, "required"},
		"no listener": {func(c *Config) { c.Streams.Close(); c.Streams = nil }, "required"},
		"metrics twice": {func(c *Config) {
			r := prometheus.NewRegistry()
			if _, err := newMetrics(r); err != nil {
				t.Fatal(err)
			}
			c.Registerer = r
		}, "register metrics"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				nd := c.add()
				cfg := nd.config()
				tc.change(&cfg)
				m, err := Open(cfg)
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, %v; want an error with %q", m, err, tc.want)
				}
				for _, port := range []string{packetPort, streamPort} { // closed again
					ln, err := nd.host.Listen(t.Context(), "tcp", ":"+port)
					if err != nil {
						t.Fatal(err)
					}
					ln.Close()
				}
			})
		})
	}
}

func TestMetricsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		nd := c.add()
		registry := prometheus.NewPedanticRegistry()
		for range 2 { // open, close, open again on the same registry
			cfg := nd.config()
			cfg.Registerer = registry
			m, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			families, err := registry.Gather()
			if err != nil {
				t.Error(err)
			}
			var names []string
			for _, f := range families {
				names = append(names, f.GetName())
			}
			if !slices.Contains(names, "usher_membership_members") {
				t.Errorf("metrics: %v", names)
			}
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if families, _ := registry.Gather(); len(families) != 0 {
			t.Errorf("%d families left", len(families))
		}
	})
}

// A connection that did not prove who it is is closed without a byte being read.
func TestStrangersAreRefused(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		stranger := c.net.Host("stranger", "10.0.9.9")
		for _, port := range []string{packetPort, streamPort} {
			conn, err := stranger.DialContext(t.Context(), "tcp", net.JoinHostPort(c.nodes[0].host.IP(), port))
			if err != nil {
				t.Fatal(err)
			}
			conn.SetReadDeadline(time.Now().Add(time.Second))
			if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("port %s: %v", port, err)
			}
			var timeout net.Error
			if _, err := conn.Read(make([]byte, 1)); errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("port %s: still open", port)
			}
			conn.Close()
		}
	})
}

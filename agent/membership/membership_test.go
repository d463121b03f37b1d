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

func TestKilledFailsAndRestartIsAlive(t *testing.T) {
	for _, n := range []int{2, 3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			bubble(t, n, func(t *testing.T, c *cluster) {
				c.settle(5 * time.Second)
				victim, rest := c.nodes[n-1], c.nodes[:n-1]
				victim.kill()
				suspected := false
				took := c.within(12*time.Second, "failed everywhere", func() bool {
					failed := true
					for _, nd := range rest {
						s := nd.status(victim)
						suspected = suspected || s == peer.StatusSuspect
						failed = failed && s == peer.StatusFailed
					}
					return failed
				})
				t.Logf("failed after %v", took)
				if !suspected {
					t.Error("failed without having been suspect")
				}
				if !c.agree(rest) {
					t.Error("the others are not alive")
				}
				victim.boot++
				victim.start()
				took = c.within(time.Second, "back", func() bool { return c.agree(c.nodes) })
				t.Logf("back after %v", took)
			})
		})
	}
}

// A restart is often noticed before the old process has been missed.
func TestQuickRestartReplacesOldBoot(t *testing.T) {
	bubble(t, 3, func(t *testing.T, c *cluster) {
		c.settle(5 * time.Second)
		c.nodes[2].kill()
		c.nodes[2].boot = 7
		c.nodes[2].start()
		synctest.Wait() // no time passes
		if !c.agree(c.nodes) {
			t.Errorf("the new boot is not alive at once: %v", c.nodes[0].describe())
		}
		for range 600 { // the old name fails meanwhile, which must not show
			time.Sleep(100 * time.Millisecond)
			if !c.agree(c.nodes) {
				t.Fatalf("%v", c.nodes[0].describe())
			}
		}
		c.nodes[0].checkList()
	})
}

func TestMovedAddress(t *testing.T) {
	bubble(t, 3, func(t *testing.T, c *cluster) {
		c.settle(5 * time.Second)
		mover := c.nodes[1]
		mover.kill()
		mover.host.SetIP("10.9.9.9")
		mover.boot++
		mover.advertise = "10.9.9.9:" + packetPort
		mover.start()
		c.within(2*time.Second, "alive at the new address", func() bool {
			p, _ := c.nodes[0].m.Peer(mover.id)
			return c.agree(c.nodes) && p.Addr == "10.9.9.9:14747"
		})
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

func TestLeftIsNotFailed(t *testing.T) {
	bubble(t, 3, func(t *testing.T, c *cluster) {
		c.settle(5 * time.Second)
		leaver := c.nodes[2]
		// The word has to get out over connections that take a while to be made.
		c.net.SetDelay(300 * time.Millisecond)
		for _, nd := range c.nodes {
			leaver.m.fabric.pool.renew(nd.id)
		}
		synctest.Wait()
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := leaver.m.Leave(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("leaving took %v", took)
		}
		c.net.SetDelay(0)
		c.within(time.Second, "left everywhere", func() bool {
			return c.nodes[0].status(leaver) == peer.StatusLeft && c.nodes[1].status(leaver) == peer.StatusLeft
		})
		time.Sleep(2 * time.Minute) // memberlist forgets, we do not
		if got := c.nodes[0].status(leaver); got != peer.StatusLeft {
			t.Errorf("after two minutes: %s", got)
		}
		if err := leaver.m.Leave(ctx); !errors.Is(err, ErrClosed) {
			t.Errorf("leaving twice: %v", err)
		}
		leaver.stop()
		leaver.boot++
		leaver.start()
		c.settle(time.Second)
	})
}

func TestIsolatedAndHealed(t *testing.T) {
	bubble(t, 5, func(t *testing.T, c *cluster) {
		c.settle(5 * time.Second)
		lost, rest := c.nodes[4], c.nodes[:4]
		c.net.Isolate(lost.host)
		time.Sleep(60 * time.Second)
		for _, nd := range rest {
			if got := nd.status(lost); got != peer.StatusFailed {
				t.Errorf("%s says %s of the isolated node", nd.host.Name(), got)
			}
			if got := lost.status(nd); got != peer.StatusFailed {
				t.Errorf("the isolated node says %s of %s", got, nd.host.Name())
			}
			nd.checkList()
		}
		if n := lost.m.list.NumMembers(); n != 1 {
			t.Fatalf("memberlist still knows %d", n)
		}
		c.net.HealAll()
		took := c.within(20*time.Second, "whole again", func() bool { return c.agree(c.nodes) })
		t.Logf("whole after %v", took)
		for range 300 {
			time.Sleep(100 * time.Millisecond)
			if !c.agree(c.nodes) {
				t.Fatalf("flaps after healing: %v", c.nodes[0].describe())
			}
		}
	})
}

// A node that is given up at the end of a short cut does not have to wait for the
// next round of joins.
func TestShortCutHealsAtOnce(t *testing.T) {
	bubble(t, 2, func(t *testing.T, c *cluster) {
		c.settle(5 * time.Second)
		for range 20 {
			time.Sleep(7 * time.Second)
			c.net.Isolate(c.nodes[1].host)
			c.within(15*time.Second, "failed", func() bool {
				return c.nodes[0].status(c.nodes[1]) == peer.StatusFailed && c.nodes[1].status(c.nodes[0]) == peer.StatusFailed
			})
			c.net.HealAll()
			c.within(4*time.Second, "whole again", func() bool { return c.agree(c.nodes) })
		}
	})
}

func TestForgottenAfterADay(t *testing.T) {
	bubble(t, 2, func(t *testing.T, c *cluster) {
		c.settle(5 * time.Second)
		keeper, lost := c.nodes[0], c.nodes[1]
		lost.kill()
		time.Sleep(time.Minute) // memberlist has forgotten
		keeper.ahead.Store(int64(23 * time.Hour))
		time.Sleep(time.Second)
		if got := keeper.status(lost); got != peer.StatusFailed {
			t.Errorf("after 23 hours: %s", got)
		}
		keeper.ahead.Store(int64(24 * time.Hour))
		time.Sleep(time.Second)
		if got := keeper.status(lost); got != peer.StatusUnknown {
			t.Errorf("after 24 hours: %s", got)
		}
		if addr, _ := keeper.m.book.addr(lost.id, 1); addr != "" {
			t.Errorf("address %s is still known", addr)
		}
	})
}

// Connections that swallow everything are replaced before their node is given up,
// without a third node that could help.
func TestHungConnectionsAreReplaced(t *testing.T) {
	bubble(t, 2, func(t *testing.T, c *cluster) {
		c.settle(5 * time.Second)
		for range 30 { // in different phases of the probes
			time.Sleep(7 * time.Second)
			c.nodes[0].hang()
			for tenth := range 120 {
				time.Sleep(100 * time.Millisecond)
				for i, nd := range c.nodes {
					s := nd.status(c.nodes[1-i])
					if s == peer.StatusFailed || s != peer.StatusAlive && tenth > 60 {
						t.Fatalf("%s says %s", nd.host.Name(), s)
					}
				}
			}
		}
	})
}

func TestBlackHoleStopsNobody(t *testing.T) {
	bubble(t, 5, func(t *testing.T, c *cluster) {
		c.settle(5 * time.Second)
		hole, rest := c.nodes[4], c.nodes[:4]
		c.net.Isolate(hole.host)
		for range 300 {
			time.Sleep(100 * time.Millisecond)
			if !c.agree(rest) {
				t.Fatalf("%v", c.nodes[0].describe())
			}
		}
		late := c.add() // joins past the dead contact
		late.start()
		c.within(2*time.Second, "joined", func() bool { return c.agree(append(slices.Clone(rest), late)) })
	})
}

// Every node reports once a second; what anybody sees of anybody is never more
// than three seconds old.
func TestLoadReachesAll(t *testing.T) {
	const allowed = 3 // seconds, and reports
	for _, n := range []int{3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			bubble(t, n, func(t *testing.T, c *cluster) {
				c.settle(5 * time.Second)
				for second := 1; second <= 60; second++ {
					for _, nd := range c.nodes {
						nd.m.Report(peer.Load{CPUPermille: second, Engines: []peer.EngineLoad{{
							Name: "shiny", Health: peer.Healthy, Sessions: second, Permille: -1, Documents: []string{"sales"}}}})
					}
					time.Sleep(time.Second)
					for _, nd := range c.nodes {
						for _, other := range c.nodes {
							p, _ := nd.m.Peer(other.id)
							e, _ := p.Load.Engine("shiny")
							switch age := second - p.Load.CPUPermille; {
							case second >= allowed && age >= allowed:
								t.Errorf("%s knows of %s what is %d s old", nd.host.Name(), other.host.Name(), age)
							case p.Load.Seq == 0: // none yet
							case e.Sessions != p.Load.CPUPermille || time.Since(p.Load.Received) > (allowed+1)*time.Second:
								t.Errorf("load %+v", p.Load)
							}
						}
					}
				}
			})
		})
	}
}

// With the largest reports that there are, at every second, the budget holds.
func TestTrafficIsBounded(t *testing.T) {
	bubble(t, 12, func(t *testing.T, c *cluster) {
		c.settle(5 * time.Second)
		sum := func(nd *node) int { return value(t, nd.m.metrics.packetBytes.WithLabelValues(directionOut)) }
		before := make([]int, len(c.nodes))
		for i, nd := range c.nodes {
			before[i] = sum(nd)
		}
		const seconds = 90
		for range seconds {
			for _, nd := range c.nodes {
				nd.m.Report(peer.Load{Engines: engines(16, 32, 100)})
			}
			time.Sleep(time.Second)
		}
		for i, nd := range c.nodes {
			rate := (sum(nd) - before[i]) / seconds
			t.Logf("%s sent %d bytes a second", nd.host.Name(), rate)
			if rate > reportBudget*5/4 { // probes and membership come on top
				t.Errorf("%s sent %d bytes a second", nd.host.Name(), rate)
			}
		}
		for i, nd := range c.nodes {
			from := c.nodes[(i+1)%len(c.nodes)]
			if p, _ := nd.m.Peer(from.id); len(p.Load.Engines) != maxEngines {
				t.Errorf("%s has no report of %s", nd.host.Name(), from.host.Name())
			}
		}
	})
}

// Two nodes that cannot reach each other are vouched for by the others.
func TestPairCutIsBridged(t *testing.T) {
	for name, cut := range map[string]func(c *cluster){
		"both ways": func(c *cluster) { c.net.Cut(c.nodes[0].host, c.nodes[1].host) },
		"one way":   func(c *cluster) { c.net.CutOneWay(c.nodes[0].host, c.nodes[1].host) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 4, func(t *testing.T, c *cluster) {
				c.settle(5 * time.Second)
				cut(c)
				for range 1200 {
					time.Sleep(100 * time.Millisecond)
					for _, nd := range c.nodes {
						for _, other := range c.nodes {
							if s := nd.status(other); s != peer.StatusAlive && s != peer.StatusSuspect {
								t.Fatalf("%s says %s of %s", nd.host.Name(), s, other.host.Name())
							}
						}
					}
				}
			})
		})
	}
}

func TestLargestReportTravels(t *testing.T) {
	bubble(t, 3, func(t *testing.T, c *cluster) {
		c.settle(5 * time.Second)
		c.nodes[0].m.Report(peer.Load{Engines: engines(16, 32, 100)})
		c.within(2*time.Second, "report everywhere", func() bool {
			for _, nd := range c.nodes {
				if p, _ := nd.m.Peer(c.nodes[0].id); len(p.Load.Engines) != maxEngines {
					return false
				}
			}
			return true
		})
	})
}

func TestLateJoinerGetsLoads(t *testing.T) {
	bubble(t, 2, func(t *testing.T, c *cluster) {
		c.settle(5 * time.Second)
		c.nodes[0].m.Report(peer.Load{CPUPermille: 123})
		time.Sleep(10 * time.Second) // no broadcast is left
		late := c.add()
		late.start()
		c.within(time.Second, "load known", func() bool {
			p, _ := late.m.Peer(c.nodes[0].id)
			return p.Load.CPUPermille == 123
		})
	})
}

func TestLoadOfOldBootIsNotShown(t *testing.T) {
	bubble(t, 2, func(t *testing.T, c *cluster) {
		c.settle(5 * time.Second)
		c.nodes[1].m.Report(peer.Load{CPUPermille: 999})
		c.within(3*time.Second, "load known", func() bool {
			p, _ := c.nodes[0].m.Peer(c.nodes[1].id)
			return p.Load.CPUPermille == 999
		})
		c.nodes[1].kill()
		c.nodes[1].boot++
		c.nodes[1].start()
		c.settle(time.Second)
		if p, _ := c.nodes[0].m.Peer(c.nodes[1].id); p.Load.Seq != 0 {
			t.Errorf("load of the boot before: %+v", p.Load)
		}
		c.nodes[1].m.Report(peer.Load{CPUPermille: 1}) // sequence 1 again, but of a higher boot
		c.within(3*time.Second, "new load known", func() bool {
			p, _ := c.nodes[0].m.Peer(c.nodes[1].id)
			return p.Load.CPUPermille == 1
		})
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

package membership

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

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
		synctest.Wait() // no time passes: it has joined one of them, the other hears of it
		if !c.agree([]*node{c.nodes[0], c.nodes[2]}) && !c.agree([]*node{c.nodes[1], c.nodes[2]}) {
			t.Errorf("the new boot is not alive at once: %v", c.nodes[0].describe())
		}
		c.within(time.Second, "new boot alive everywhere", func() bool { return c.agree(c.nodes) })
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

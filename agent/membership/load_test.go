package membership

import (
	"fmt"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

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

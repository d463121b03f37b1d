package consensus

import (
	"context"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/peer"
)

// slowLog is a log on a slow disk.
type slowLog struct {
	raft.LogStore
	takes *atomic.Int64
}

func (l slowLog) IsMonotonic() bool {
	m, ok := l.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

func (l slowLog) StoreLogs(logs []*raft.Log) error {
	if d := time.Duration(l.takes.Load()); d > 0 {
		time.Sleep(d)
	}
	return l.LogStore.StoreLogs(logs)
}

// slowStable is where Raft keeps its term and vote, on a slow disk.
type slowStable struct {
	raft.StableStore
	takes *atomic.Int64
}

func (s slowStable) Set(k, v []byte) error {
	time.Sleep(time.Duration(s.takes.Load()))
	return s.StableStore.Set(k, v)
}

func (s slowStable) SetUint64(k []byte, v uint64) error {
	time.Sleep(time.Duration(s.takes.Load()))
	return s.StableStore.SetUint64(k, v)
}

func (c *group) dial(ctx context.Context, from, to peer.ID, port string) (net.Conn, error) {
	if c.nodes[from].dead.Load() {
		return nil, syscall.ENETDOWN
	}
	conn, err := c.hosts[from].DialContext(ctx, "tcp", c.hosts[to].IP()+port)
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.open = append(c.open, dialled{conn, from, to, port == pulsePort})
	}
	return conn, err
}

// dialled is a connection between two members, at the end that dialled.
type dialled struct {
	net.Conn
	from, to peer.ID
	pulse    bool
}

const pulsePort = ":14746"

// breakOff ends the connections between a node and those others, or all if none is
// named; its ports go on to accept.
func (c *group) breakOff(i peer.ID, others ...peer.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	with := func(id peer.ID) bool { return len(others) == 0 || slices.Contains(others, id) }
	c.open = slices.DeleteFunc(c.open, func(d dialled) bool {
		ours := d.from == i && with(d.to) || d.to == i && with(d.from)
		if ours {
			d.Close()
		}
		return ours
	})
}

// muteRaft ends Raft's connections from and to a node until unmute, and leaves the
// pulse's alone.
func (c *group) muteRaft(i peer.ID) {
	c.nodes[i].noRaft.Store(true)
	for _, other := range c.ids {
		if other != i && c.nodes[other].store != nil {
			c.nodes[other].store.stream.hangUp(i)
			c.nodes[i].store.stream.hangUp(other)
		}
	}
}

// cutPulse ends the pulse's connections from and to a node until cut is false again, and
// leaves Raft's alone.
func (c *group) cutPulse(i peer.ID, cut bool) {
	c.nodes[i].noPulse.Store(cut)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.open {
		if cut && d.pulse && (d.from == i || d.to == i) {
			d.Close()
		}
	}
}

func (c *group) unmute(i peer.ID) { c.nodes[i].noRaft.Store(false) }

// crash ends a node as a kill does: its connections are reset and its ports refuse.
func (c *group) crash(i peer.ID) {
	c.t.Helper()
	m := c.nodes[i]
	m.dead.Store(true)
	m.ln.Close()
	m.pulseLn.Close()
	c.net.Reset(c.hosts[i])
	c.stop(i)
}

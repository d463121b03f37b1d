package membership

import (
	"bytes"
	"encoding/binary"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/ushercluster/usher/agent/peer"
)

// The budget of load reports. Each node passes each report on to a few others, so
// the traffic of a node grows with the number of nodes: a report of size bytes
// from each of n nodes every interval costs each of them
//
//	n * reportMult * ceil(log10(n+1)) * size / interval
//
// bytes a second, which is kept at or below reportBudget. With the smallest
// report that is one a second up to 43 nodes.
const (
	reportBudget   = 20_000 // bytes a second sent by a node
	reportMult     = 3      // transmissions of a report by each node, times the logarithm
	smallestReport = 76
	shortestPause  = time.Second
)

// maxLocalState bounds the reports that travel in one push/pull.
const maxLocalState = 4 << 20

// localStateVersion begins the reports in a push/pull.
const localStateVersion = 1

// pause is how long a node waits between two reports of size bytes in a cluster of
// n nodes.
func pause(n, size int) time.Duration {
	copies := float64(n) * reportMult * math.Ceil(math.Log10(float64(n)+1))
	seconds := copies * float64(max(size, smallestReport)) / reportBudget
	return max(shortestPause, time.Duration(seconds*float64(time.Second)))
}

// reports keeps the newest load report of every node and spreads ours. It is safe
// for concurrent use, and nothing in it waits.
type reports struct {
	self    peer.ID
	boot    uint64
	now     func() time.Time
	nodes   func() int // alive, this one included
	metrics *metrics
	queue   memberlist.TransmitLimitedQueue

	mu     sync.Mutex
	byNode map[peer.ID]kept
	seq    uint64
	due    time.Time // when our next report may go out
	unsent bool      // our newest report waits for that
}

// kept is a report with the bytes that it came in.
type kept struct {
	report
	raw []byte
}

func newReports(c Config, nodes func() int, m *metrics) *reports {
	r := &reports{self: c.Self, boot: c.Boot, now: c.Now, nodes: nodes, metrics: m, byNode: make(map[peer.ID]kept)}
	r.queue = memberlist.TransmitLimitedQueue{NumNodes: nodes, RetransmitMult: reportMult}
	return r
}

// publish takes our own newest load. It goes out when the budget allows; one that
// waits is replaced.
func (r *reports) publish(l peer.Load) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	l.Seq, l.Received = r.seq, r.now()
	own := fit(report{ID: r.self, Boot: r.boot, Load: l})
	r.byNode[r.self] = kept{own, encodeReport(own)}
	r.unsent = true
}

// broadcasts gives memberlist what to put into a packet, at most limit bytes.
func (r *reports) broadcasts(overhead, limit int) [][]byte {
	r.release()
	return r.queue.GetBroadcasts(overhead, limit)
}

// release queues our newest report when its time has come.
func (r *reports) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if !r.unsent || now.Before(r.due) {
		return
	}
	own := r.byNode[r.self]
	wait := pause(r.nodes(), len(own.raw))
	// Counted from when it was due, so that the coarse ticks on which we are asked
	// do not lower the rate; but lost time is not made up for.
	if late := now.Sub(r.due); late > shortestPause {
		r.due = now
	}
	r.due = r.due.Add(wait)
	r.unsent = false
	r.queue.QueueBroadcast(broadcast{r.self, own.raw})
	r.metrics.reportsSent.Inc()
}

// receive takes a report from a packet and passes it on when it is news.
func (r *reports) receive(raw []byte) {
	raw = bytes.Clone(raw) // memberlist may use its buffer again
	if id, news := r.keep(raw); news {
		r.queue.QueueBroadcast(broadcast{id, raw})
	}
}

// keep stores a report that is newer than what is known of its node.
func (r *reports) keep(raw []byte) (id peer.ID, news bool) {
	got, err := decodeReport(raw)
	if err != nil {
		r.metrics.reportsRejected.Inc()
		return "", false
	}
	if got.ID == r.self {
		return "", false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old, known := r.byNode[got.ID]
	if known && !got.newer(old.report) || !known && len(r.byNode) >= maxNodes {
		return "", false
	}
	got.Load.Received = r.now()
	r.byNode[got.ID] = kept{got, raw}
	r.metrics.reportsReceived.Inc()
	return got.ID, true
}

// local is everything we know, for a push/pull: a version, then each report behind
// its length.
func (r *reports) local() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	size := 1
	for _, k := range r.byNode {
		size += binary.MaxVarintLen16 + len(k.raw)
	}
	b := append(make([]byte, 0, min(size, maxLocalState)), localStateVersion)
	for _, k := range r.byNode {
		if len(b)+binary.MaxVarintLen16+len(k.raw) > maxLocalState {
			break
		}
		b = binary.AppendUvarint(b, uint64(len(k.raw)))
		b = append(b, k.raw...)
	}
	return b
}

// merge takes what another node's local gave.
func (r *reports) merge(b []byte) {
	d := decoder{b: b}
	if d.byte("version") != localStateVersion {
		r.metrics.reportsRejected.Inc()
		return
	}
	for len(d.b) > 0 && d.err == nil {
		n := d.uint("report size", maxReport)
		if raw := d.take("report", int(n)); d.err == nil {
			r.keep(bytes.Clone(raw))
		}
	}
	if d.err != nil {
		r.metrics.reportsRejected.Inc()
	}
}

// load is the newest load of one boot of a node, zero when there is none.
func (r *reports) load(id peer.ID, boot uint64) peer.Load {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, ok := r.byNode[id]; ok && k.Boot == boot {
		return k.Load
	}
	return peer.Load{}
}

// prune forgets reports of nodes that are not in peers, once they are older than a
// node needs to become known.
func (r *reports) prune(peers []peer.Peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, k := range r.byNode {
		if _, ok := find(peers, id); !ok && r.now().Sub(k.Load.Received) > time.Minute {
			delete(r.byNode, id)
		}
	}
}

// broadcast is one node's report in the queue; a newer one takes its place.
type broadcast struct {
	id  peer.ID
	raw []byte
}

var _ memberlist.NamedBroadcast = broadcast{}

// Name implements memberlist.NamedBroadcast.
func (b broadcast) Name() string { return string(b.id) }

// Invalidates implements memberlist.Broadcast.
func (b broadcast) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(broadcast)
	return ok && o.id == b.id
}

// Message implements memberlist.Broadcast.
func (b broadcast) Message() []byte { return b.raw }

// Finished implements memberlist.Broadcast.
func (b broadcast) Finished() {}

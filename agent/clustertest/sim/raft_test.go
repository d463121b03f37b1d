package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
	"github.com/ushercluster/usher/transport/memnet"
)

// The time of faults when nothing is asked for, and how many seeds.
const (
	raftTime  = 40 * time.Second
	raftSeeds = 200
)

// TestRaft breaks three or five stores, which is all of the replication and none of what
// stands on it.
func TestRaft(t *testing.T) {
	seeds(t, raftSeeds/slowdown, func(t *testing.T, seed uint64) {
		r := newRun(t, seed)
		defer r.close()
		r.open(3 + 2*int(seed%2))
		r.play(forTime(raftTime))
		r.heal()
		r.judge()
	})
}

// run is one seed's.
type run struct {
	*journal
	t      *testing.T
	lazy   bool
	budget int64 // of log, until a snapshot
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // of what ends when the nodes have been stopped

	net      *memnet.Net
	nodes    []*node
	inject   *injector
	truth    *truth
	history  *history
	calls    *calls
	values   atomic.Uint64
	torn     atomic.Int64
	members  sync.Mutex // held over a change of the voters
	unwatch  context.CancelFunc
	watching sync.WaitGroup
}

func newRun(t *testing.T, seed uint64) *run {
	r := &run{
		journal: newJournal(t, seed, "raft"), t: t, lazy: *lazy,
		net: memnet.New(), history: &history{}, calls: &calls{by: map[uint64]*call{}},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.budget = int64(16<<10) << (seed % 4 * 2) // 16 KiB to 1 MiB
	return r
}

// diskDice are new ones for a disk.
func (r *run) diskDice() *rand.Rand { return dice(r.seed, fmt.Sprintf("disk %d", r.values.Add(1))) }

// open makes a cluster of voters.
func (r *run) open(n int) {
	r.t.Helper()
	var hosts []*memnet.Host
	for i := range n {
		name := fmt.Sprintf("n%d", i+1)
		h := r.net.Host(name, fmt.Sprintf("10.0.0.%d", i+1))
		hosts = append(hosts, h)
		d := newDisk(r.diskDice())
		d.lazy = r.lazy
		r.nodes = append(r.nodes, &node{id: peer.ID(strings.Repeat("a", 15) + string(rune('b'+i))), name: name, host: h, run: r, disk: d, turn: newTurn()})
	}
	r.inject = newInjector(r.net, hosts, dice(r.seed, "network"))
	r.net.SetDelay(time.Millisecond)
	initial, err := r.bootstrap(r.nodes[0])
	if err != nil {
		r.t.Fatal(err)
	}
	if r.truth, err = newTruth(initial, r.fail); err != nil {
		r.t.Fatal(err)
	}
	for _, n := range r.nodes {
		r.up(n)
	}
	ctx, cancel := context.WithTimeout(r.ctx, time.Minute)
	defer cancel()
	for _, n := range r.nodes[1:] {
		if err := r.vote(ctx, n); err != nil {
			r.t.Fatal(err)
		}
	}
	var watch context.Context
	watch, r.unwatch = context.WithCancel(r.ctx)
	r.watching.Go(func() { r.observe(watch) })
}

// bootstrap writes the state of a new cluster to a node's disk.
func (r *run) bootstrap(n *node) ([]byte, error) {
	f := fsm.New(fsm.Options{})
	cmd, err := fsm.Encode(&fsm.InitCluster{
		UUID: "u", Name: "c", Node: fsm.Node{ID: n.id, Name: n.name, Class: peer.ClassServer, Weight: 100},
		JoinToken: fsm.JoinToken{ID: "jjjj"}, Token: fsm.Token{ID: "tttt"}, DataKey: fsm.DataKey{ID: 1},
	})
	if err != nil {
		return nil, err
	}
	entry, err := fsm.EncodeEntry(fsm.Entry{Now: fsm.StampOf(time.Now()), Items: []fsm.Item{{ID: fsm.CommandID{1}, Command: cmd}}})
	if err != nil {
		return nil, err
	}
	if res, err := f.Apply(entry); err != nil || res[0].Err() != nil {
		return nil, errors.Join(err, res[0].Err())
	}
	snap, err := f.Snapshot()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if _, err := snap.WriteTo(&b); err != nil {
		return nil, err
	}
	d := n.disk
	return b.Bytes(), consensus.NewStores(logStore{d}, stableStore{d}, snapStore{d}).Bootstrap(string(n.id), snap)
}

// play lets clients work while the plan's faults strike.
func (r *run) play(d time.Duration) {
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(r.ctx, d)
	defer cancel()
	r.begin()
	for i := range clients {
		c := &client{run: r, i: i, rng: dice(r.seed, fmt.Sprintf("client %d", i))}
		wg.Go(func() { c.work(ctx) })
	}
	for _, s := range plan(dice(r.seed, "faults"), len(r.nodes), d, shapes()) {
		wg.Go(func() { r.strike(ctx, s) })
	}
	wg.Wait()
}

// Bounds of healing: the first write after the last fault, and equal states.
const (
	writeWithin = 10 * time.Second
	equalWithin = 30 * time.Second
)

// heal ends every fault and waits until the cluster is whole.
func (r *run) heal() {
	r.log("everything is healed")
	for _, n := range r.nodes {
		n.ahead.Store(0)
		n.disks(diskTakes, false)
		r.up(n)
	}
	healed := time.Now()
	for ctx, cancel := context.WithTimeout(r.ctx, writeWithin); ; {
		c := &client{run: r, i: clients, rng: dice(r.seed, "last client")}
		o := op{kind: opWrite, outcome: never}
		if l := r.leading(); l != nil {
			p := c.proposal(l, "s1")
			c.send(&o, p, l, l)
		}
		if o.outcome == acked || o.outcome == refused {
			cancel()
			break
		}
		if !pause(ctx, 100*time.Millisecond) {
			cancel()
			r.fail("no write is acknowledged within %v of the last fault's end: %s", writeWithin, r.standings())
			return
		}
	}
	r.log("a write is acknowledged %v after the end of all faults", time.Since(healed))
	ctx, cancel := context.WithTimeout(r.ctx, equalWithin)
	defer cancel()
	for _, n := range r.nodes {
		if err := r.vote(ctx, n); err != nil {
			r.fail("%s does not become a voter again: %v; %s", n.name, err, r.standings())
			return
		}
	}
	for !r.equal() {
		if !pause(ctx, 50*time.Millisecond) {
			r.fail("no equal states within %v: %s", equalWithin, r.standings())
			return
		}
	}
	r.log("equal states %v after the end of all faults", time.Since(healed))
}

// equal reports whether all nodes have the same state, and the whole log.
func (r *run) equal() bool {
	lead := r.leading()
	if lead == nil {
		return false
	}
	v, st := lead.fsm.View(), lead.store.Status()
	for _, n := range r.nodes {
		l := n.live.Load()
		if l == nil {
			return false
		}
		if own := l.store.Status(); own.AppliedIndex != st.LastIndex || own.CommitIndex != st.LastIndex || l.fsm.View().Hash() != v.Hash() {
			return false
		}
	}
	return true
}

func (r *run) standings() string {
	var b strings.Builder
	for _, n := range r.nodes {
		if l := n.live.Load(); l != nil {
			st := l.store.Status()
			fmt.Fprintf(&b, "%s %s in term %d, commit %d of %d, revision %d, voters %d; ",
				n.name, st.State, st.Term, st.CommitIndex, st.LastIndex, l.fsm.View().Revision(), len(st.Voters))
		} else {
			fmt.Fprintf(&b, "%s is down; ", n.name)
		}
	}
	return b.String()
}

// A run that acknowledges fewer operations than one in so many seconds shows nothing.
const leastRate = 5

// judge checks what the whole run has shown.
func (r *run) judge() {
	if r.failed() {
		return // what follows from it would only hide it
	}
	r.unwatch()
	r.watching.Wait()
	for _, n := range r.nodes {
		r.look(n, true)
	}
	r.truth.end(r.nodes[0].live.Load().fsm.View().Revision())
	for _, f := range r.truth.check(r.history.ops) {
		r.fail("%s", f)
	}
	seconds := int(time.Since(r.began).Seconds())
	writes, reads := r.history.count(opWrite, acked), r.history.count(opRead, acked)
	r.log("%d writes acknowledged, %d refused, %d unknown, %d not; %d reads, %d not; %d stale; %d terms led; %d writes under way at crashes; faults %v",
		writes, r.history.count(opWrite, refused), r.history.count(opWrite, unknown), r.history.count(opWrite, never),
		reads, r.history.count(opRead, never), r.history.count(opStale, acked), len(r.truth.leaders), r.torn.Load(), r.strikes())
	if writes < seconds/leastRate || reads < seconds/leastRate {
		r.fail("%d writes and %d reads in %d seconds show nothing", writes, reads, seconds)
	}
}

// close stops the nodes and prints what happened, if somebody wants to know.
func (r *run) close() {
	for _, n := range r.nodes {
		n.turn.take()
		n.stop()
		n.turn.give()
	}
	r.cancel()
	r.watching.Wait()
	r.wg.Wait()
	if left := r.net.Conns(); left != 0 {
		r.fail("%d connections are left open", left)
	}
	r.report()
}

// stuck ends the process: the bubble of a store that does not close never ends.
func (r *run) stuck(l *life) {
	r.fail("%s does not close within %v", l.n.name, closeWithin)
	panic(r.text())
}

// logger takes a node's lines, if they are wanted.
func (r *run) logger(n *node) zerolog.Logger {
	if !*withLogs {
		return zerolog.Nop()
	}
	return zerolog.New(lines{r, n})
}

type lines struct {
	r *run
	n *node
}

var _ io.Writer = lines{}

func (l lines) Write(p []byte) (int, error) {
	l.r.log("  %s %s", l.n.name, bytes.TrimSpace(p))
	return len(p), nil
}

// leader is the number of the node that leads, or -1.
func (r *run) leader() int {
	best, newest := -1, uint64(0)
	for i, n := range r.nodes {
		if l := n.live.Load(); l != nil {
			if term, yes := l.leading(); yes && term >= newest {
				best, newest = i, term
			}
		}
	}
	return best
}

// leading is the process that leads, or nil.
func (r *run) leading() *life {
	if i := r.leader(); i >= 0 {
		return r.nodes[i].live.Load()
	}
	return nil
}

// ended hears that a process wants to end because of its disk or its state. The disk was
// made to fail, or it is a defect.
func (r *run) ended(l *life, why error) {
	if l.dead.Load() {
		return
	}
	r.log("%s ends: %v", l.n.name, why)
	if !l.doomed.Load() {
		r.fail("%s ends by itself: %v", l.n.name, why)
	}
	r.wg.Go(func() {
		l.n.turn.take()
		if l.n.live.Load() == l {
			l.n.crash(false)
			l.n.disk.set(diskTakes, false)
		}
		l.n.turn.give()
		if pause(r.ctx, time.Second) {
			r.up(l.n)
		}
	})
}

const (
	lookEvery = 50 * time.Millisecond
	hashEvery = 4 // looks
)

// observe looks at all nodes until the run ends.
func (r *run) observe(ctx context.Context) {
	for i := 0; pause(ctx, lookEvery); i++ {
		for _, n := range r.nodes {
			r.look(n, i%hashEvery == 0)
		}
	}
}

// look holds what a node shows now against the truth.
func (r *run) look(n *node, hash bool) {
	l := n.live.Load()
	if l == nil {
		return
	}
	v := l.fsm.View()
	if v.Revision() < l.revision || v.At().Before(l.at) {
		r.fail("%s goes back: from revision %d at %v to %d at %v", n.name, l.revision, l.at, v.Revision(), v.At())
	}
	moved := v.Revision() != l.revision
	before, leads := l.leading()
	if term, _ := l.leading(); leads && term == before { // the term did not change under the look
		r.truth.leads(n.id, term)
	}
	r.commits(l)
	if hash && moved {
		l.revision, l.at = v.Revision(), v.At()
		r.truth.saw(n.name, v)
	}
}

// commits tells the truth what a process takes for committed since the last look.
func (r *run) commits(l *life) {
	commit := l.store.Status().CommitIndex
	var terms []uint64
	var beyond bool
	l.disk.look(func(c *content) {
		snap := uint64(0)
		if len(c.snaps) > 0 {
			snap = c.snaps[0].meta.Index
		}
		beyond = commit > max(c.last, snap)
		for i := l.commit + 1; i <= commit; i++ {
			term := uint64(0) // not here any more
			if e := c.logs[i]; e != nil {
				term = e.Term
			}
			terms = append(terms, term)
		}
	})
	if beyond && !l.dead.Load() {
		r.fail("%s has committed up to %d, which its log does not have", l.n.name, commit)
	}
	for k, term := range terms {
		if term != 0 {
			r.truth.commit(l.n.name, l.commit+1+uint64(k), term)
		}
	}
	l.commit = max(l.commit, commit)
}

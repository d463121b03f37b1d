package scheduler

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

var (
	errNoQuorum = errors.New("no quorum")
	errUnknown  = errors.New("outcome unknown")
)

// cluster is a few nodes with a scheduler each, around a log that all of them apply
// to a state machine of their own. It stands for Raft: commands are applied one
// after the other, in one order, stamped by one clock.
type cluster struct {
	t     *testing.T
	nodes []*member

	mu    sync.Mutex
	log   [][]byte
	truth *fsm.FSM
	ids   uint64
	// fault is asked before each command; nil means none.
	fault func(from peer.ID, c fsm.Command) fault
	seen  []fsm.Command // applied, in order, repeats left out
	runs  []*launch
	skew  time.Duration              // of the clock that stamps commands
	first map[fsm.CommandID]struct{} // commands that were sent at least once
	leads context.CancelFunc
	led   chan struct{}
}

// fault is what happens to one command.
type fault struct {
	delay   time.Duration // before it is applied
	lost    bool          // never applied
	lostAck bool          // applied, and the answer does not arrive
}

// launch is one call of Config.Run.
type launch struct {
	Job
	node       peer.ID
	begin, end time.Time // end is zero while it runs
}

type member struct {
	c       *cluster
	id      peer.ID
	f       *fsm.FSM
	applied int
	cut     bool
	status  peer.Status
	changed chan struct{}
	work    func(context.Context, Job) Outcome
	ahead   time.Duration // of its wall clock
	reg     *prometheus.Registry
	s       *Scheduler
	kill    context.CancelFunc
	gone    chan struct{}
	err     error
}

func nodeName(i int) peer.ID { return peer.ID(fmt.Sprintf("aaaaaaaaaaaaaaa%c", 'a'+i)) }

// newCluster makes a cluster of n nodes whose workers run; nobody leads yet.
func newCluster(t *testing.T, n int) *cluster {
	t.Helper()
	c := &cluster{t: t, truth: fsm.New(fsm.Options{}), first: map[fsm.CommandID]struct{}{}}
	row := func(i int) fsm.Node {
		return fsm.Node{
			ID: nodeName(i), Name: fmt.Sprintf("n%d", i), Class: peer.ClassServer, Weight: 100, FeatureLevel: 1,
			Addr: fmt.Sprintf("10.0.0.%d:14747", i), KeyHash: bytes.Repeat([]byte{byte(i + 1)}, 32), Engines: []string{"builtin"},
		}
	}
	c.must(&fsm.InitCluster{
		UUID: "u", Name: "c", Root: []byte("ca"), Node: row(0),
		JoinToken: fsm.JoinToken{ID: "join", Uses: 9, Hash: make([]byte, 32), Expires: fsm.StampOf(time.Now().Add(time.Hour))},
		Token:     fsm.Token{ID: "admin", Name: "admin", Role: fsm.RoleAdmin, Hash: make([]byte, 32)},
		DataKey:   fsm.DataKey{ID: 1, Wraps: []fsm.Wrap{{Node: nodeName(0), Sealed: []byte("w")}}},
	})
	for i := 1; i < n; i++ {
		c.must(&fsm.AdmitNode{TokenID: "join", Node: row(i)})
	}
	for i := range n {
		m := &member{c: c, id: nodeName(i), f: fsm.New(fsm.Options{}), status: peer.StatusAlive, changed: make(chan struct{}, 1)}
		c.nodes = append(c.nodes, m)
	}
	c.mu.Lock()
	c.feed()
	c.mu.Unlock()
	for _, m := range c.nodes {
		m.start()
	}
	t.Cleanup(c.close)
	return c
}

func (c *cluster) close() {
	c.rest()
	for _, m := range c.nodes {
		m.stop()
	}
}

// start starts the node's process.
func (m *member) start() {
	m.c.t.Helper()
	m.reg = prometheus.NewRegistry()
	s, err := New(Config{
		Self: m.id, Store: m, Run: m.run, Log: zerolog.Nop(), Peers: m.c.peers, PeersChanged: m.changed,
		Registerer: m.reg, Now: func() time.Time { return time.Now().Add(m.ahead) },
	})
	if err != nil {
		m.c.t.Fatal(err)
	}
	ctx, kill := context.WithCancel(context.Background())
	m.s, m.kill, m.gone = s, kill, make(chan struct{})
	go func() {
		defer close(m.gone)
		m.err = s.Run(ctx)
	}()
}

// stop stops the node's process in order.
func (m *member) stop() {
	if m.kill != nil {
		m.kill()
		<-m.gone
		m.kill = nil
	}
}

// crash ends the process with nothing said: what it sends from now on is lost.
func (m *member) crash() {
	m.c.mu.Lock()
	m.cut = true
	m.c.mu.Unlock()
	m.stop()
}

// reach connects the node again, or cuts it off.
func (m *member) reach(yes bool) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	m.cut = !yes
	m.c.feed()
}

// gossip changes what is said of the node.
func (m *member) gossip(s peer.Status) {
	m.c.mu.Lock()
	m.status = s
	m.c.mu.Unlock()
	for _, n := range m.c.nodes {
		select {
		case n.changed <- struct{}{}:
		default:
		}
	}
}

func (c *cluster) peers() []peer.Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []peer.Peer
	for _, m := range c.nodes {
		out = append(out, peer.Peer{ID: m.id, Class: peer.ClassServer, Status: m.status, Load: peer.Load{
			Engines: []peer.EngineLoad{{Name: "builtin", Health: peer.Healthy}},
		}})
	}
	return out
}

// lead makes a node the leader; the one before is told so.
func (c *cluster) lead(m *member) {
	c.rest()
	ctx, stop := context.WithCancel(context.Background())
	led := make(chan struct{})
	c.leads, c.led = stop, led
	go func() {
		defer close(led)
		if err := m.s.Lead(ctx, 1); err != nil {
			c.t.Error(err)
		}
	}()
}

// rest leaves the cluster without a leader.
func (c *cluster) rest() {
	if c.leads != nil {
		c.leads()
		<-c.led
		c.leads = nil
	}
}

// run is Config.Run: it writes down what is launched.
func (m *member) run(ctx context.Context, j Job) Outcome {
	l := &launch{Job: j, node: m.id, begin: time.Now()}
	m.c.mu.Lock()
	m.c.runs = append(m.c.runs, l)
	m.c.mu.Unlock()
	out := Outcome{Rows: 7}
	if m.work != nil {
		out = m.work(ctx, j)
	}
	m.c.mu.Lock()
	l.end = time.Now()
	m.c.mu.Unlock()
	return out
}

// busyFor is work that takes d, and stops when it is told to.
func busyFor(d time.Duration) func(context.Context, Job) Outcome {
	return func(ctx context.Context, _ Job) Outcome {
		if !wait(ctx, d) {
			return Outcome{Err: errors.New("the engine was interrupted")}
		}
		return Outcome{Rows: 7, Output: "done"}
	}
}

// View implements Store.
func (m *member) View() fsm.View { return m.f.View() }

// Apply implements Store. Like consensus it tries for 10 s.
func (m *member) Apply(ctx context.Context, p fsm.Proposal) (fsm.Result, error) {
	m.c.mu.Lock()
	m.c.checkKnown(m, p)
	f, cut := fault{}, m.cut
	if m.c.fault != nil {
		f = m.c.fault(m.id, p.Command)
	}
	m.c.mu.Unlock()
	if !wait(ctx, time.Millisecond+f.delay) {
		return fsm.Result{}, ctx.Err()
	}
	if cut || f.lost {
		wait(ctx, 10*time.Second)
		return fsm.Result{}, errNoQuorum
	}
	res, err := m.c.commit(p)
	if err != nil {
		return res, err
	}
	m.c.mu.Lock()
	cut = m.cut
	m.c.mu.Unlock()
	if f.lostAck || cut {
		wait(ctx, 10*time.Second)
		return fsm.Result{}, errUnknown
	}
	return res, res.Err()
}

// commit applies a command everywhere.
func (c *cluster) commit(p fsm.Proposal) (fsm.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, err := fsm.Encode(p.Command)
	if err != nil {
		return fsm.Result{}, err
	}
	if p.ID == (fsm.CommandID{}) {
		c.ids++
		binary.BigEndian.PutUint64(p.ID[:], c.ids)
	}
	entry, err := fsm.EncodeEntry(fsm.Entry{Now: fsm.StampOf(time.Now().Add(c.skew)), Items: []fsm.Item{{ID: p.ID, Known: p.Known, Actor: p.Actor, Command: body}}})
	if err != nil {
		return fsm.Result{}, err
	}
	res, err := c.truth.Apply(entry)
	if err != nil {
		return fsm.Result{}, err
	}
	if !res[0].Repeated {
		c.seen = append(c.seen, p.Command)
	}
	c.log = append(c.log, entry)
	c.feed()
	return res[0], nil
}

// feed brings the nodes that can be reached up to date.
func (c *cluster) feed() {
	for _, m := range c.nodes {
		for !m.cut && m.applied < len(c.log) {
			if _, err := m.f.Apply(c.log[m.applied]); err != nil {
				c.t.Error(err)
			}
			m.applied++
		}
	}
}

func (c *cluster) do(cmd fsm.Command) fsm.Result {
	c.t.Helper()
	res, err := c.commit(fsm.Proposal{Known: c.truth.View().Revision(), Actor: fsm.Actor{Kind: fsm.ActorToken, ID: "admin"}, Command: cmd})
	if err != nil {
		c.t.Fatal(err)
	}
	return res
}

func (c *cluster) must(cmd fsm.Command) fsm.Result {
	c.t.Helper()
	res := c.do(cmd)
	if err := res.Err(); err != nil {
		c.t.Fatalf("%T: %v", cmd, err)
	}
	return res
}

// every is a task with an interval.
func every(name string, d time.Duration) fsm.Task {
	return fsm.Task{Name: name, Document: name + ".csv", Every: d, Attempts: 3, Timeout: 10 * time.Minute, CatchUp: time.Minute}
}

func (c *cluster) put(t fsm.Task) { c.t.Helper(); c.must(&fsm.PutTask{Task: t}) }

// metric is the value of one of the node's metrics; a histogram's is its count.
func (m *member) metric(name string, labels ...string) float64 {
	m.c.t.Helper()
	families, err := m.reg.Gather()
	if err != nil {
		m.c.t.Fatal(err)
	}
	for _, f := range families {
		for _, v := range f.GetMetric() {
			var have []string
			for _, l := range v.GetLabel() {
				have = append(have, l.GetValue())
			}
			if f.GetName() == name && slices.Equal(have, labels) {
				return v.GetCounter().GetValue() + v.GetGauge().GetValue() + float64(v.GetHistogram().GetSampleCount())
			}
		}
	}
	m.c.t.Fatalf("no metric %s %v", name, labels)
	return 0
}

func (c *cluster) occurrences(task string) []*fsm.Occurrence {
	return c.truth.View().Occurrences(task)
}

// states are those of the task's occurrences, earliest due first.
func (c *cluster) states(task string) []fsm.OccurrenceState {
	var out []fsm.OccurrenceState
	for _, o := range c.occurrences(task) {
		out = append(out, o.State)
	}
	return out
}

func (c *cluster) launches(task string) []*launch {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.runs), func(l *launch) bool { return l.Task != task })
}

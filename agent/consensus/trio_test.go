package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
	"github.com/ushercluster/usher/transport/memnet"
)

// group is some stores on a memory network, with forwarding by direct calls.
type group struct {
	t     *testing.T
	net   *memnet.Net
	hosts map[peer.ID]*memnet.Host
	nodes map[peer.ID]*member
	ids   []peer.ID
	mu    sync.Mutex
	open  []dialled
	// budget is LogBudget of nodes that are started from now on.
	budget int64
	lines  io.Writer // gets the log lines of nodes that are started from now on; nil: nobody
}

type member struct {
	id      peer.ID
	dir     string
	fsm     *fsm.FSM
	store   *Store
	stores  *Stores
	ln      *tracked
	pulseLn net.Listener
	boot    uint64
	ahead   atomic.Int64 // of its wall clock
	fatal   atomic.Pointer[error]
	live    atomic.Pointer[Store] // store, for other goroutines; nil while it is stopped
	dead    atomic.Bool           // it reaches nobody: its process is gone
	slow    atomic.Int64          // what a write to its log takes longer
	slowly  atomic.Int64          // what one of its term or vote does
	noPulse atomic.Bool           // the pulse's connections from and to it fail; Raft's go on
	noRaft  atomic.Bool           // Raft's connections from and to it fail; the pulse's go on
	// refused answers in place of the network what the pulse's Refused asks; nil: the network.
	refused func(to peer.ID) bool
}

// tracked is a listener whose accepted connections can be closed, as the port's are.
type tracked struct {
	net.Listener
	conns chan net.Conn
}

func (l *tracked) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.conns <- c
	}
	return c, err
}

func id(i int) peer.ID { return peer.ID(fmt.Sprintf("aaaaaaaaaaaaaaa%c", 'a'+i)) }

func newTrio(t *testing.T) *group { return newGroup(t, 3) }

// newGroup starts n voters, the first of which has made the cluster.
func newGroup(t *testing.T, n int) *group {
	c := &group{t: t, net: memnet.New(), hosts: map[peer.ID]*memnet.Host{}, nodes: map[peer.ID]*member{}}
	for i := 1; i <= n; i++ {
		c.ids = append(c.ids, id(i))
		c.hosts[id(i)] = c.net.Host(fmt.Sprintf("n%d", i), fmt.Sprintf("10.0.0.%d", i))
		c.nodes[id(i)] = &member{id: id(i), dir: t.TempDir()}
	}
	c.bootstrap()
	for _, i := range c.ids {
		c.start(i)
	}
	l := c.leader("")
	for _, i := range c.ids[1:] {
		if err := l.store.AddVoter(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	// raft refuses the vote of a candidate that it does not find in its own latest
	// configuration, so a cut right here could leave no leader possible.
	for _, i := range c.ids {
		for len(c.nodes[i].store.Status().Voters) < n || c.nodes[i].store.Status().LastIndex < l.store.Status().LastIndex {
			time.Sleep(20 * time.Millisecond)
		}
	}
	return c
}

// settled starts n voters, 1 ms from each other, that have heard each other's pulse, and
// gives their leader.
func settled(t *testing.T, n int) (*group, *member) {
	c := newGroup(t, n)
	c.net.SetDelay(time.Millisecond)
	l := c.leader("")
	time.Sleep(2 * time.Second)
	return c, l
}

func (c *group) bootstrap() {
	m := c.nodes[c.ids[0]]
	stores, err := OpenStores(filepath.Join(m.dir, "raft"), zerolog.Nop())
	if err != nil {
		c.t.Fatal(err)
	}
	f := fsm.New(fsm.Options{})
	cmd, _ := fsm.Encode(&fsm.InitCluster{UUID: "u", Name: "c", Node: fsm.Node{ID: m.id, Name: "n1", Class: peer.ClassServer, Weight: 100},
		JoinToken: fsm.JoinToken{ID: "jjjj"}, Token: fsm.Token{ID: "tttt"}, DataKey: fsm.DataKey{ID: 1}})
	entry, _ := fsm.EncodeEntry(fsm.Entry{Now: 1, Items: []fsm.Item{{ID: fsm.CommandID{1}, Command: cmd}}})
	if res, err := f.Apply(entry); err != nil || res[0].Err() != nil {
		c.t.Fatal(err, res)
	}
	snap, _ := f.Snapshot()
	if err := errors.Join(stores.Bootstrap(string(m.id), snap), stores.Close()); err != nil {
		c.t.Fatal(err)
	}
}

func (c *group) start(i peer.ID) {
	c.t.Helper()
	m := c.nodes[i]
	var err error
	if m.stores, err = OpenStores(filepath.Join(m.dir, "raft"), zerolog.Nop()); err != nil {
		c.t.Fatal(err)
	}
	m.stores.Logs = slowLog{m.stores.Logs, &m.slow}
	m.stores.Stable = slowStable{m.stores.Stable, &m.slowly}
	ln, err := c.hosts[i].Listen(c.t.Context(), "tcp", ":14747")
	if err != nil {
		c.t.Fatal(err)
	}
	m.ln = &tracked{ln, make(chan net.Conn, 1000)}
	if m.pulseLn, err = c.hosts[i].Listen(c.t.Context(), "tcp", pulsePort); err != nil {
		c.t.Fatal(err)
	}
	m.fsm = fsm.New(fsm.Options{})
	m.boot++
	m.store, err = Open(Config{
		Self: i, Stores: m.stores, FSM: m.fsm, Cache: filepath.Join(m.dir, "state.cache"), Listener: m.ln,
		Dial: func(ctx context.Context, to peer.ID) (net.Conn, error) {
			if m.noRaft.Load() || c.nodes[to].noRaft.Load() {
				return nil, syscall.EHOSTUNREACH
			}
			return c.dial(ctx, i, to, ":14747")
		},
		Pulse: Pulse{
			Boot: m.boot, Listener: m.pulseLn, Remote: c.remote,
			Dial: func(ctx context.Context, to peer.ID) (net.Conn, error) {
				if m.noPulse.Load() || c.nodes[to].noPulse.Load() {
					return nil, syscall.EHOSTUNREACH
				}
				return c.dial(ctx, i, to, pulsePort)
			},
			Refused: func(ctx context.Context, to peer.ID) bool {
				if m.refused != nil {
					return m.refused(to)
				}
				conn, err := c.dial(ctx, i, to, pulsePort)
				if err == nil {
					conn.Close()
				}
				return errors.Is(err, syscall.ECONNREFUSED)
			},
		},
		LogBudget: c.budget,
		Now:       c.clock(i), Forward: forwarder{c, i}, Fatal: func(err error) { m.fatal.Store(&err) }, Log: c.log(i),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	m.dead.Store(false)
	m.live.Store(m.store)
}

// remote tells who dialled.
func (c *group) remote(conn net.Conn) (peer.ID, bool) {
	host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	for id, h := range c.hosts {
		if h.IP() == host {
			return id, true
		}
	}
	return "", false
}

// clock is a node's wall clock, which a test may set.
func (c *group) clock(i peer.ID) func() time.Time {
	m := c.nodes[i]
	return func() time.Time { return time.Now().Add(time.Duration(m.ahead.Load())) }
}

func (c *group) stop(i peer.ID) {
	c.t.Helper()
	m := c.nodes[i]
	m.live.Store(nil)
	m.ln.Close()
	for len(m.ln.conns) > 0 {
		(<-m.ln.conns).Close()
	}
	if err := m.store.Close(); err != nil {
		c.t.Fatal(err)
	}
	if err := m.stores.Close(); err != nil {
		c.t.Fatal(err)
	}
	m.store = nil
}

func (c *group) stopAll() {
	for _, i := range c.ids {
		if c.nodes[i].store != nil {
			c.stop(i)
		}
	}
}

// others are the members that run, but l.
func (c *group) others(l *member) []*member {
	var out []*member
	for _, i := range c.ids {
		if m := c.nodes[i]; m != l && m.store != nil {
			out = append(out, m)
		}
	}
	return out
}

// stand makes a member stand for election at once.
func (c *group) stand(m *member) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
	defer cancel()
	if err := m.store.trans.stand(ctx, raft.ServerID(m.id)); err != nil {
		c.t.Fatal(err)
	}
}

// within waits until what is so, for d at most.
func (c *group) within(d time.Duration, what string, so func() bool) {
	c.t.Helper()
	for began := time.Now(); !so(); time.Sleep(time.Millisecond) {
		if time.Since(began) > d {
			c.t.Fatalf("not within %v: %s", d, what)
		}
	}
}

// agree waits until all members have the same state.
func (c *group) agree() {
	c.t.Helper()
	l := c.leader("")
	if _, err := l.store.Read(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	for _, m := range c.others(l) {
		// Not at once: writers may have left entries under way.
		for range 100 {
			if m.fsm.View().Revision() == l.fsm.View().Revision() && m.fsm.View().Hash() == l.fsm.View().Hash() {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if a, b := m.fsm.View(), l.fsm.View(); a.Hash() != b.Hash() {
			c.t.Fatalf("node %s is at revision %d with hash %.8s, %s, which leads, at %d with %.8s",
				m.id, a.Revision(), a.Hash(), l.id, b.Revision(), b.Hash())
		}
		if err := m.fatal.Load(); err != nil {
			c.t.Fatal(*err)
		}
	}
}

// leader waits for one that is not skip.
func (c *group) leader(skip peer.ID) *member {
	c.t.Helper()
	for range 200 {
		for _, i := range c.ids {
			if m := c.nodes[i]; i != skip && m.store != nil && m.store.Status().IsLeader {
				return m
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatal("no leader in ten seconds")
	return nil
}

// forwarder calls the leader's store directly, unless the network is cut.
type forwarder struct {
	c  *group
	me peer.ID
}

func (f forwarder) reach(ctx context.Context, to peer.ID) (*Store, error) {
	// A port where nobody listens tells as well whether the host is reached.
	if _, err := f.c.dial(ctx, f.me, to, ":1"); !errors.Is(err, syscall.ECONNREFUSED) {
		return nil, &NotSentError{err}
	}
	if s := f.c.nodes[to].live.Load(); s != nil {
		return s, nil
	}
	return nil, &NotSentError{ErrClosed}
}

func (f forwarder) Apply(ctx context.Context, leader peer.ID, p fsm.Proposal) (fsm.Result, error) {
	s, err := f.reach(ctx, leader)
	if err != nil {
		return fsm.Result{}, err
	}
	return s.Propose(ctx, p)
}

func set(key, value string) fsm.Proposal {
	return fsm.Proposal{Actor: fsm.Actor{Kind: fsm.ActorToken, ID: "t"}, Command: &fsm.SetSetting{Key: key, Value: value}}
}

// log writes to the test's log when USHER_TEST_LOG is set.
func (c *group) log(i peer.ID) zerolog.Logger {
	if c.lines != nil {
		return zerolog.New(c.lines)
	}
	if os.Getenv("USHER_TEST_LOG") == "" {
		return zerolog.Nop()
	}
	now := func() time.Time { return time.Now() }
	l, err := logs.New(zerolog.NewTestWriter(c.t), logs.JSON, logs.NewLevel(zerolog.DebugLevel), now)
	if err != nil {
		c.t.Fatal(err)
	}
	return l.With().Str(logs.Node, string(i[15:])).Logger()
}

// locked is a buffer that Raft's goroutines may still write to while it is read.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

package consensus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
	"github.com/ushercluster/usher/transport/memnet"
)

// trio is three stores on a memory network, with forwarding by direct calls.
type trio struct {
	t     *testing.T
	net   *memnet.Net
	hosts map[peer.ID]*memnet.Host
	nodes map[peer.ID]*member
	ids   []peer.ID
}

type member struct {
	id     peer.ID
	dir    string
	fsm    *fsm.FSM
	store  *Store
	stores *Stores
	ln     *tracked
	fatal  atomic.Pointer[error]
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

func newTrio(t *testing.T) *trio {
	c := &trio{t: t, net: memnet.New(), hosts: map[peer.ID]*memnet.Host{}, nodes: map[peer.ID]*member{}}
	for i := 1; i <= 3; i++ {
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
		for len(c.nodes[i].store.Status().Voters) < 3 || c.nodes[i].store.Status().LastIndex < l.store.Status().LastIndex {
			time.Sleep(20 * time.Millisecond)
		}
	}
	return c
}

func (c *trio) bootstrap() {
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

func (c *trio) start(i peer.ID) {
	c.t.Helper()
	m := c.nodes[i]
	var err error
	if m.stores, err = OpenStores(filepath.Join(m.dir, "raft"), zerolog.Nop()); err != nil {
		c.t.Fatal(err)
	}
	ln, err := c.hosts[i].Listen(c.t.Context(), "tcp", ":14747")
	if err != nil {
		c.t.Fatal(err)
	}
	m.ln = &tracked{ln, make(chan net.Conn, 1000)}
	m.fsm = fsm.New(fsm.Options{})
	m.store, err = Open(Config{
		Self: i, Stores: m.stores, FSM: m.fsm, Cache: filepath.Join(m.dir, "state.cache"), Listener: m.ln,
		Dial: func(ctx context.Context, to peer.ID) (net.Conn, error) {
			return c.hosts[i].DialContext(ctx, "tcp", c.hosts[to].IP()+":14747")
		},
		Forward: forwarder{c, i}, Fatal: func(err error) { m.fatal.Store(&err) }, Log: c.log(i),
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *trio) stop(i peer.ID) {
	c.t.Helper()
	m := c.nodes[i]
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

func (c *trio) stopAll() {
	for _, i := range c.ids {
		if c.nodes[i].store != nil {
			c.stop(i)
		}
	}
}

// leader waits for one that is not skip.
func (c *trio) leader(skip peer.ID) *member {
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
	c  *trio
	me peer.ID
}

func (f forwarder) reach(ctx context.Context, to peer.ID) (*Store, error) {
	conn, err := f.c.hosts[f.me].DialContext(ctx, "tcp", f.c.hosts[to].IP()+":14747")
	if err != nil {
		return nil, &NotSentError{err}
	}
	conn.Close()
	return f.c.nodes[to].store, nil
}

func (f forwarder) Apply(ctx context.Context, leader peer.ID, p fsm.Proposal) (fsm.Result, error) {
	s, err := f.reach(ctx, leader)
	if err != nil {
		return fsm.Result{}, err
	}
	return s.Propose(ctx, p)
}

func (f forwarder) ReadIndex(ctx context.Context, leader peer.ID) (uint64, error) {
	s, err := f.reach(ctx, leader)
	if err != nil {
		return 0, err
	}
	v, err := s.ReadHere(ctx)
	return v.Revision(), err
}

func set(key, value string) fsm.Proposal {
	return fsm.Proposal{Actor: fsm.Actor{Kind: fsm.ActorToken, ID: "t"}, Command: &fsm.SetSetting{Key: key, Value: value}}
}

func TestElectWriteIsolateHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		follower := c.nodes[c.ids[0]]
		if follower == l {
			follower = c.nodes[c.ids[1]]
		}
		if _, err := follower.store.Apply(t.Context(), set("session.scope", "document")); err != nil {
			t.Fatal("write through a follower:", err)
		}
		v, err := l.store.Read(t.Context())
		if err != nil || v.Text("session.scope") != "document" {
			t.Fatal("linearizable read at the leader:", err)
		}
		c.net.Isolate(c.hosts[l.id])
		began := time.Now()
		l2 := c.leader(l.id)
		t.Logf("a new leader after %v", time.Since(began))
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("election took %v", took)
		}
		if _, err := l2.store.Apply(t.Context(), set("session.scope", "browser")); err != nil {
			t.Fatal(err)
		}
		if _, err := l.store.Apply(t.Context(), set("session.scope", "document")); !errors.Is(err, ErrNoQuorum) {
			t.Fatalf("write at the isolated old leader: %v, want no quorum", err)
		}
		if _, err := l.store.Read(t.Context()); !errors.Is(err, ErrNoQuorum) {
			t.Fatalf("read at the isolated old leader: %v, want no quorum", err)
		}
		if got := l.store.View().Text("session.scope"); got != "document" {
			t.Fatalf("stale view shows %q, want what was there", got)
		}
		c.net.HealAll()
		time.Sleep(15 * time.Second)
		v, err = l.store.Read(t.Context())
		if err != nil || v.Text("session.scope") != "browser" {
			t.Fatalf("after healing: %v, scope %q", err, v.Text("session.scope"))
		}
		time.Sleep(time.Second)
		for _, i := range c.ids {
			if h := c.nodes[i].store.View().Hash(); h != v.Hash() {
				t.Fatalf("node %s has state %s, want %s", i, h, v.Hash())
			}
			if err := c.nodes[i].fatal.Load(); err != nil {
				t.Fatal(*err)
			}
		}
	})
}

func TestCacheServesBeforeThereIsALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		if _, err := l.store.Apply(t.Context(), set("session.scope", "document")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(12 * time.Second) // the cache is written at most every ten seconds
		c.stopAll()
		c.start(c.ids[2])
		v := c.nodes[c.ids[2]].store.View()
		if !v.Cached() || v.Text("session.scope") != "document" {
			t.Fatalf("cached %v, scope %q: want the cached state before there is a leader", v.Cached(), v.Text("session.scope"))
		}
		newer := v.Newer()
		c.start(c.ids[0])
		c.leader("")
		if _, err := c.nodes[c.ids[2]].store.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-newer:
		default:
			t.Fatal("the cached view was never said to be outdated")
		}
		if c.nodes[c.ids[2]].store.View().Cached() {
			t.Fatal("the cache hides the live state")
		}
	})
}

func TestLeadIsAContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		ctx, cancel := context.WithCancel(t.Context())
		type span struct{ from, to time.Time }
		spans := make(chan span, 16)
		done := make(chan struct{})
		for _, i := range c.ids {
			go func() {
				defer func() { done <- struct{}{} }()
				_ = c.nodes[i].store.Lead(ctx, func(ctx context.Context, term uint64) error {
					s := span{from: time.Now()}
					<-ctx.Done()
					s.to = time.Now()
					spans <- s
					return nil
				})
			}()
		}
		l := c.leader("")
		time.Sleep(time.Second)
		c.net.Isolate(c.hosts[l.id])
		c.leader(l.id)
		select {
		case <-spans:
		case <-time.After(5 * time.Second):
			t.Fatal("the old leader's work was not cancelled")
		}
		c.net.HealAll()
		cancel()
		for range c.ids {
			<-done
		}
	})
}

func TestPlannedMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		to := c.nodes[c.ids[1]]
		if to == l {
			to = c.nodes[c.ids[2]]
		}
		time.Sleep(time.Second)
		began := time.Now()
		err := l.store.Handover(t.Context(), func(ctx context.Context, term, index uint64) error {
			return to.store.Stand(ctx, term, index)
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.leader(""); got != to {
			t.Fatalf("%s leads, want %s", got.id, to.id)
		}
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Fatalf("the move took %v", took)
		}
		if _, err := l.store.Apply(t.Context(), set("session.scope", "document")); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTimeoutNowFromTheNetworkIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		var other peer.ID
		for _, i := range c.ids {
			if i != l.id {
				other = i
			}
		}
		time.Sleep(time.Second)
		term := l.store.Status().Term
		var resp raft.TimeoutNowResponse
		header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(l.id), Addr: []byte(l.id)}
		err := l.store.trans.TimeoutNow(raft.ServerID(other), raft.ServerAddress(other), &raft.TimeoutNowRequest{RPCHeader: header}, &resp)
		if err == nil {
			t.Fatal("a TimeoutNow from the network was accepted")
		}
		time.Sleep(2 * time.Second)
		if now := l.store.Status(); now.Term != term || !now.IsLeader {
			t.Fatalf("the term moved from %d to %d", term, now.Term)
		}
	})
}

func TestRepeatFindsTheFirstResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		p := set("session.scope", "document")
		p.ID = fsm.CommandID{9}
		first, err := l.store.Apply(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range c.ids {
			again, err := c.nodes[i].store.Apply(t.Context(), p)
			if err != nil || !again.Repeated || again.Revision != first.Revision {
				t.Fatalf("repeat at %s: %+v, %v", i, again, err)
			}
		}
	})
}

// TestReadNeedsAMajority reads at a leader at the very moment in which it is cut
// off and does not know it yet.
func TestReadNeedsAMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		time.Sleep(time.Second)
		c.net.Isolate(c.hosts[l.id])
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if !l.store.Status().IsLeader {
			t.Fatal("it knows already")
		}
		if _, err := l.store.ReadHere(ctx); err == nil {
			t.Fatal("a read was confirmed by nobody")
		}
		c.net.HealAll()
		c.leader("")
	})
}

// TestHeartbeatsGoThroughTheMainLoop keeps raft#695 closed: no handler may take
// heartbeats beside Raft's main loop.
func TestHeartbeatsGoThroughTheMainLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		for _, i := range c.ids {
			f := reflect.ValueOf(c.nodes[i].store.trans.NetworkTransport).Elem().FieldByName("heartbeatFn")
			if !f.IsValid() {
				t.Fatal("raft's transport has no field heartbeatFn any more: find another way to see this")
			}
			if !f.IsNil() {
				t.Fatal("a heartbeat handler is set")
			}
		}
	})
}

// TestRestartFromSnapshot starts from a snapshot that holds everything.
func TestRestartFromSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		for _, v := range []string{"document", "browser", "document"} {
			if _, err := l.store.Apply(t.Context(), set("session.scope", v)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.store.Snapshot(); err != nil {
			t.Fatal(err)
		}
		want := l.store.View()
		c.stop(l.id)
		if err := os.Remove(filepath.Join(c.nodes[l.id].dir, "state.cache")); err != nil {
			t.Fatal(err)
		}
		c.start(l.id)
		v := c.nodes[l.id].store.View()
		if v.Cached() || v.Hash() != want.Hash() {
			t.Fatalf("restored revision %d, want %d with the same hash", v.Revision(), want.Revision())
		}
		c.leader("")
	})
}

func TestDiskErrorEndsTheProcess(t *testing.T) {
	bad := errors.New("bad disk")
	var fatal error
	w := &watchdog{LogStore: failing{bad}, log: zerolog.Nop(), fatal: func(err error) { fatal = err }}
	if err := w.StoreLogs(nil); !errors.Is(err, bad) || !errors.Is(fatal, bad) {
		t.Fatalf("error %v, fatal %v", err, fatal)
	}
	if !w.IsMonotonic() {
		t.Fatal("the watchdog hides that the store is monotonic")
	}
}

func TestHangingDiskEndsTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fatal atomic.Bool
		w := &watchdog{LogStore: hanging{time.Minute}, log: zerolog.Nop(), fatal: func(error) { fatal.Store(true) }}
		go func() { _ = w.StoreLogs(nil) }()
		time.Sleep(diskHung - time.Second)
		if fatal.Load() {
			t.Fatal("too early")
		}
		time.Sleep(2 * time.Second)
		if !fatal.Load() {
			t.Fatal("a hanging disk was not noticed")
		}
		time.Sleep(time.Minute)
	})
}

type failing struct{ err error }

func (f failing) FirstIndex() (uint64, error)      { return 0, nil }
func (f failing) LastIndex() (uint64, error)       { return 0, nil }
func (f failing) GetLog(uint64, *raft.Log) error   { return f.err }
func (f failing) StoreLog(*raft.Log) error         { return f.err }
func (f failing) StoreLogs([]*raft.Log) error      { return f.err }
func (f failing) DeleteRange(uint64, uint64) error { return f.err }
func (f failing) IsMonotonic() bool                { return true }

type hanging struct{ d time.Duration }

func (h hanging) FirstIndex() (uint64, error)      { return 0, nil }
func (h hanging) LastIndex() (uint64, error)       { return 0, nil }
func (h hanging) GetLog(uint64, *raft.Log) error   { return nil }
func (h hanging) StoreLog(*raft.Log) error         { return nil }
func (h hanging) StoreLogs([]*raft.Log) error      { time.Sleep(h.d); return nil }
func (h hanging) DeleteRange(uint64, uint64) error { return nil }

// log writes to the test's log when USHER_TEST_LOG is set.
func (c *trio) log(i peer.ID) zerolog.Logger {
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

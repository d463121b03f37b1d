package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
	"github.com/ushercluster/usher/transport/memnet"
)

// node is one machine, over all its starts.
type node struct {
	id   peer.ID
	name string
	host *memnet.Host
	run  *run

	ahead atomic.Int64         // of its wall clock
	live  atomic.Pointer[life] // nil while it is down
	turn  turn                 // held over a stop and a start
	disk  *disk                // under turn
	boots uint64               // under turn
	votes sync.Map             // candidate, by term
}

// turn is a mutex that lets the clock of a bubble go on while somebody waits for it.
type turn chan struct{}

func newTurn() turn  { return make(turn, 1) }
func (t turn) take() { t <- struct{}{} }
func (t turn) give() { <-t }

// life is one process of a node.
type life struct {
	n     *node
	fsm   *fsm.FSM
	store *consensus.Store
	disk  *disk
	ports []*port
	mu    sync.Mutex
	conns []net.Conn // dialled
	shut  bool
	dead  atomic.Bool // nobody hears it any more

	doomed atomic.Bool // its disk was made to fail: it may end by itself

	// Of the observer.
	revision uint64
	at       time.Time
	commit   uint64
}

// The ports of a node, for Raft, the pulse and forwarded commands.
const (
	raftPort    = ":14747"
	pulsePort   = ":14746"
	forwardPort = ":14745"
)

// port is a listener that knows what it has accepted, as the cluster port does.
type port struct {
	net.Listener
	mu     sync.Mutex
	conns  []net.Conn
	closed bool
}

func (p *port) Accept() (net.Conn, error) {
	c, err := p.Listener.Accept()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	p.conns = append(p.conns, c)
	return c, nil
}

// shut closes the port and its connections.
func (p *port) shut() {
	_ = p.Listener.Close() // a second time is no harm
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns, p.closed = nil, true
}

// start starts the node on its disk. The caller holds turn.
func (n *node) start() error {
	l := &life{n: n, fsm: fsm.New(fsm.Options{}), disk: n.disk}
	var why string
	n.disk.look(func(c *content) { why = c.broken() })
	if why != "" {
		n.run.fail("%s: the disk has lost what was acknowledged: %s", n.name, why)
	}
	for _, at := range []string{raftPort, pulsePort, forwardPort} {
		ln, err := n.host.Listen(n.run.ctx, "tcp", at)
		if err != nil {
			return err
		}
		l.ports = append(l.ports, &port{Listener: ln})
	}
	n.disk.truncating = n.truncating
	n.disk.mend()
	n.boots++
	var err error
	l.store, err = consensus.Open(consensus.Config{
		Self: n.id, Stores: consensus.NewStores(watched{logStore{n.disk}, n}, voter{stableStore{n.disk}, l}, snapStore{n.disk}), FSM: l.fsm,
		Listener: l.ports[0], Dial: l.dial(raftPort), Forward: forwarder{l}, LogBudget: n.run.budget,
		Now:   func() time.Time { return time.Now().Add(time.Duration(n.ahead.Load())) },
		Fatal: func(err error) { n.run.ended(l, err) },
		Log:   n.run.logger(n),
		Pulse: consensus.Pulse{
			Boot: n.boots, Listener: l.ports[1], Remote: n.run.remote, Dial: l.dial(pulsePort),
			Refused: func(ctx context.Context, to peer.ID) bool {
				c, err := l.dial(pulsePort)(ctx, to)
				if err == nil {
					_ = c.Close()
				}
				return errors.Is(err, syscall.ECONNREFUSED)
			},
		},
	})
	if err != nil {
		return err
	}
	n.run.wg.Go(func() { l.serve() })
	n.live.Store(l)
	return nil
}

// truncating looks at entries that a node is about to give up. One that was committed is
// one copy less than the majority that it was acknowledged for.
func (n *node) truncating(c *content, from, to uint64) {
	snap := uint64(0)
	if len(c.snaps) > 0 {
		snap = c.snaps[0].meta.Index
	}
	for i := max(from, snap+1); i <= to; i++ {
		if l := c.logs[i]; l != nil && n.run.truth.isCommitted(i, l.Term) {
			n.run.fail("%s gives up entry %d of term %d, which was committed", n.name, i, l.Term)
			return
		}
	}
}

// dial reaches other nodes while the process lives.
func (l *life) dial(at string) func(context.Context, peer.ID) (net.Conn, error) {
	return func(ctx context.Context, to peer.ID) (net.Conn, error) {
		other := l.n.run.node(to)
		if l.dead.Load() || other == nil {
			return nil, syscall.ENETDOWN
		}
		c, err := l.n.host.DialContext(ctx, "tcp", other.host.IP()+at)
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.shut || l.dead.Load() {
			_ = c.Close()
			return nil, syscall.ENETDOWN
		}
		l.conns = append(l.conns, c)
		return c, err
	}
}

// crash ends the process at once and leaves the disk as it is then. What is left of it
// comes to an end by itself, unheard. The caller holds turn.
func (n *node) crash(power bool) {
	l := n.live.Swap(nil)
	if l == nil {
		return
	}
	l.dead.Store(true)
	var torn int
	n.disk, torn = n.disk.crash(power)
	n.run.torn.Add(int64(torn))
	n.run.net.Reset(n.host)
	n.run.wg.Go(func() { l.close() })
}

// stop ends the process in order. The caller holds turn.
func (n *node) stop() {
	if l := n.live.Swap(nil); l != nil {
		l.close()
		l.dead.Store(true)
	}
}

// close closes the connections, as the cluster port does when it closes, and then the
// store.
func (l *life) close() {
	for _, p := range l.ports {
		p.shut()
	}
	l.mu.Lock()
	l.shut = true
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
	l.mu.Unlock()
	hangs := time.AfterFunc(closeWithin, func() { l.n.run.stuck(l) })
	defer hangs.Stop()
	if err := l.store.Close(); err != nil && !l.dead.Load() {
		l.n.run.fail("%s: close: %v", l.n.name, err)
	}
}

const closeWithin = time.Minute

// watched is a node's log: the truth hears what is written to it.
type watched struct {
	logStore
	n *node
}

func (w watched) StoreLog(l *raft.Log) error { return w.StoreLogs([]*raft.Log{l}) }

func (w watched) StoreLogs(ls []*raft.Log) error {
	copies := make([]*raft.Log, len(ls))
	for i, l := range ls {
		one := *l
		copies[i] = &one
	}
	w.n.run.truth.wrote(w.n.name, copies)
	return w.logStore.StoreLogs(ls)
}

// voter is where a process keeps its term and vote: one vote in a term, over all starts.
type voter struct {
	stableStore
	l *life
}

func (v voter) Set(k, val []byte) error {
	if string(k) == "LastVoteCand" && !v.l.dead.Load() {
		term, err := v.GetUint64([]byte("LastVoteTerm"))
		if err != nil {
			return err
		}
		if before, ok := v.l.n.votes.LoadOrStore(term, string(val)); ok && before != string(val) {
			v.l.n.run.fail("%s votes twice in term %d: for %v and %s", v.l.n.name, term, before, val)
		}
	}
	return v.stableStore.Set(k, val)
}

// forwarder sends a command to the leader over the network. What travels is a number: the
// command and the answer stay in memory.
type forwarder struct{ l *life }

// call is one forwarded command.
type call struct {
	p      fsm.Proposal
	result fsm.Result
	err    error
}

// calls are those under way in a run. Safe for concurrent use.
type calls struct {
	mu   sync.Mutex
	last uint64
	by   map[uint64]*call
}

func (c *calls) put(one *call) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	c.by[c.last] = one
	return c.last
}

func (c *calls) get(i uint64) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[i]
}

func (c *calls) drop(i uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.by, i)
}

func (f forwarder) Apply(ctx context.Context, to peer.ID, p fsm.Proposal) (fsm.Result, error) {
	c, err := f.l.dial(forwardPort)(ctx, to)
	if err != nil {
		return fsm.Result{}, &consensus.NotSentError{Err: err}
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	// A connection that is cut says nothing for ever.
	c.SetDeadline(time.Now().Add(forwardTimeout))
	one := &call{p: p}
	i := f.l.n.run.calls.put(one)
	defer f.l.n.run.calls.drop(i)
	if _, err := c.Write(number(i)); err != nil {
		return fsm.Result{}, err
	}
	var done [1]byte
	if _, err := c.Read(done[:]); err != nil {
		return fsm.Result{}, err
	}
	return one.result, one.err
}

const forwardTimeout = 5 * time.Second

// serve answers forwarded commands.
func (l *life) serve() {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.ports[2].Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer c.Close()
			b := make([]byte, 8)
			c.SetDeadline(time.Now().Add(forwardTimeout))
			if _, err := c.Read(b); err != nil {
				return
			}
			one := l.n.run.calls.get(binary.BigEndian.Uint64(b))
			if one == nil {
				return // the caller has left
			}
			ctx, cancel := context.WithTimeout(context.Background(), forwardTimeout)
			defer cancel()
			result, err := l.store.Propose(ctx, one.p)
			if l.dead.Load() {
				return
			}
			one.result, one.err = result, err
			_, _ = c.Write([]byte{1})
		})
	}
}

// leading reports whether the process leads, and which term.
func (l *life) leading() (term uint64, yes bool) {
	st := l.store.Status()
	return st.Term, st.IsLeader
}

func (r *run) node(id peer.ID) *node {
	i := slices.IndexFunc(r.nodes, func(n *node) bool { return n.id == id })
	if i < 0 {
		return nil
	}
	return r.nodes[i]
}

// remote tells who dialled.
func (r *run) remote(c net.Conn) (peer.ID, bool) {
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	for _, n := range r.nodes {
		if n.host.IP() == host {
			return n.id, true
		}
	}
	return "", false
}

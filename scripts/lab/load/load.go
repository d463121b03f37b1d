// Package load is the laboratory's clients: they write settings, compare and set, read,
// ask for runs of tasks, and hold sessions at the doors, and record how each try ended.
//
//	writer, comparer, reader, runner ──► admin API of some node ─┐
//	session (request, WebSocket)     ──► door of some node      ─┼─► history.Recorder
//	                                                             │
//	counters ──► engines' /counters ──► Load.Counts             ─┘
//
// A client stays with a node until a try fails there, goes on with the next one, and comes
// back after a while. No operation spans two tries. A client is one goroutine with one
// connection for each node that it has used; the sessions share buffers, so that thousands
// of them cost little.
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ushercluster/usher/scripts/lab/history"
)

// Node is one agent as clients reach it.
type Node struct {
	Name  string
	API   string // host:port, http://host:port, or unix:/path
	Door  string // host:port
	Token string // of an admin; may be empty on a socket
}

// Config says what load there is. Only Nodes and Rec are required; a zero count leaves
// that sort of client out.
type Config struct {
	Nodes []Node
	Seed  uint64
	Rec   *history.Recorder

	Writers   int // of settings
	Comparers int // read a setting, then write it under If-Match
	Readers   int // of settings; every third reads stale
	Tasks     int // tasks with a schedule and runs by hand
	Sessions  int // at the doors

	SocketShare int    // every n-th session is a WebSocket; 0: none
	Document    string // that sessions open and tasks reload
	// DialEngine connects to an engine's address (loopback) on the machine of a node, for its
	// counters; nil dials directly.
	DialEngine func(ctx context.Context, node, address string) (net.Conn, error)

	Pace Pace
}

// Pace is how often each client does something, and how long it waits. Zero fields get
// their defaults.
type Pace struct {
	Setting  time.Duration // between two operations of a writer, comparer or reader: 40 ms
	Session  time.Duration // between two requests of a session: 2 s
	Message  time.Duration // between two messages on a WebSocket: 1 s
	Run      time.Duration // between two runs of a task by hand: 5 s
	Every    time.Duration // of the tasks' schedule: 2 s
	Count    time.Duration // between two looks at an engine's counters: 250 ms
	Patience time.Duration // for one try: 5 s
}

func (p Pace) filled() Pace {
	for _, f := range []struct {
		d  *time.Duration
		to time.Duration
	}{
		{&p.Setting, 40 * time.Millisecond}, {&p.Session, 2 * time.Second}, {&p.Message, time.Second},
		{&p.Run, 5 * time.Second}, {&p.Every, 2 * time.Second}, {&p.Count, 250 * time.Millisecond}, {&p.Patience, 5 * time.Second},
	} {
		if *f.d == 0 {
			*f.d = f.to
		}
	}
	return p
}

// Load is clients at work. Its methods are safe for concurrent use.
type Load struct {
	cfg    Config
	pace   Pace
	keys   int // how many settings are in use
	seq    atomic.Int64
	counts *tally
	acked  map[history.Kind]*atomic.Int64

	buffers *sync.Pool
	sockets *http.Transport // opens WebSockets

	quit chan struct{} // closed: begin nothing new
	once sync.Once
	cut  context.Context // ended: give up what is under way
	end  context.CancelFunc
	wg   sync.WaitGroup
	open sync.WaitGroup // sessions that were not answered yet
}

// Start returns when all sessions are open and each kind has had an operation
// acknowledged. When ctx ends the clients go on until Stop: it bounds the start alone. It
// sets door.show_node and scheduler.history.
func Start(ctx context.Context, c Config) (*Load, error) {
	l, err := newLoad(c)
	if err != nil {
		return nil, err
	}
	if err := l.start(ctx); err != nil {
		over, cancel := context.WithCancel(context.Background())
		cancel()
		return nil, errors.Join(err, l.Stop(over))
	}
	return l, nil
}

func newLoad(c Config) (*Load, error) {
	if len(c.Nodes) == 0 || c.Rec == nil {
		return nil, errors.New("load: Nodes and Rec are required")
	}
	if (c.Sessions > 0 || c.Tasks > 0) && c.Document == "" {
		return nil, errors.New("load: sessions and tasks need a document")
	}
	keys, err := keysFor(c.Writers, c.Comparers, c.Readers)
	if err != nil {
		return nil, err
	}
	l := &Load{cfg: c, pace: c.Pace.filled(), keys: keys, counts: newTally(), acked: map[history.Kind]*atomic.Int64{}, quit: make(chan struct{})}
	l.buffers, l.sockets = newBuffers(), &http.Transport{DisableKeepAlives: true}
	for _, k := range history.Kinds() {
		l.acked[k] = new(atomic.Int64)
	}
	l.cut, l.end = context.WithCancel(context.Background())
	return l, nil
}

func (l *Load) start(ctx context.Context) error {
	if err := l.prepare(ctx); err != nil {
		return err
	}
	l.startSettings()
	l.startTasks()
	l.startSessions()
	return l.ready(ctx)
}

// ready waits for the first acknowledgement of each kind and for all sessions.
func (l *Load) ready(ctx context.Context) error {
	opened := make(chan struct{})
	go func() { // ends with the sessions at the latest
		l.open.Wait()
		close(opened)
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := l.missing()
		select {
		case <-opened:
			if len(missing) == 0 {
				return nil
			}
		default:
			missing = append(missing, "a session")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the load did not start: nothing acknowledged of: %v: %w", missing, ctx.Err())
		}
	}
}

// missing are the kinds that should have an acknowledged operation and have none.
func (l *Load) missing() []string {
	sockets := 0
	if l.cfg.SocketShare > 0 {
		sockets = l.cfg.Sessions / l.cfg.SocketShare
	}
	var out []string
	for _, want := range []struct {
		kind    history.Kind
		clients int
	}{
		{history.Write, l.cfg.Writers}, {history.CompareAndSet, l.cfg.Comparers}, {history.Read, l.cfg.Readers},
		{history.StaleRead, l.cfg.Readers / staleShare}, {history.Task, l.cfg.Tasks}, {history.Request, l.cfg.Sessions}, {history.Message, sockets},
	} {
		if want.clients > 0 && l.acked[want.kind].Load() == 0 {
			out = append(out, string(want.kind))
		}
	}
	return out
}

// Lost tells that a node was killed, paused, cut or drained, and Back that it is well
// again: marks in the history. at is Recorder.Now.
func (l *Load) Lost(node string, at time.Duration) { l.mark(history.Lost, node, at) }

// Back is the end of Lost.
func (l *Load) Back(node string, at time.Duration) { l.mark(history.Back, node, at) }

func (l *Load) mark(k history.Kind, node string, at time.Duration) {
	l.cfg.Rec.Add(history.Op{Kind: k, Node: node, Begin: at, End: at})
}

// Stop lets what is under way come to its end, pauses the tasks, waits until none of their
// runs is open, and ends all clients. When ctx ends first it cuts the rest off, and says
// so. The Recorder stays open.
func (l *Load) Stop(ctx context.Context) error {
	l.once.Do(func() { close(l.quit) })
	done := make(chan struct{})
	go func() { // ends: the clients do, at the latest when cut does
		l.wg.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
		err = l.finishTasks(ctx)
	case <-ctx.Done():
		err = fmt.Errorf("stop load: %w", ctx.Err())
	}
	l.end()
	<-done
	l.counts.stop()
	return err
}

// Acknowledged counts the operations that were acknowledged so far.
func (l *Load) Acknowledged() map[history.Kind]int {
	out := map[history.Kind]int{}
	for k, n := range l.acked {
		out[k] = int(n.Load())
	}
	return out
}

// record adds an operation, and counts it if it was acknowledged.
func (l *Load) record(o history.Op) {
	if o.Outcome == history.OK {
		l.acked[o.Kind].Add(1)
	}
	l.cfg.Rec.Add(o)
}

// sleep waits for about d, or less if the load stops; it reports whether to go on.
func (l *Load) sleep(rng *rand.Rand, d time.Duration) bool {
	t := time.NewTimer(l.jitter(rng, d))
	defer t.Stop()
	select {
	case <-l.quit:
		return false
	case <-t.C:
		return true
	}
}

// jitter is a time around d, so that clients do not march in step.
func (l *Load) jitter(rng *rand.Rand, d time.Duration) time.Duration {
	return d*3/4 + time.Duration(rng.Int64N(int64(d/2)+1))
}

func (l *Load) rng(client int) *rand.Rand { return rand.New(rand.NewPCG(l.cfg.Seed, uint64(client))) }

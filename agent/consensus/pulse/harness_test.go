package pulse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport/memnet"
)

// lab is a network of servers named a, b, c ... at 10.0.0.1, .2, .3 ...; each has a
// hub that the test starts, or is played by the test.
type lab struct {
	*testing.T
	net     *memnet.Net
	servers []*server
}

type server struct {
	lab  *lab
	id   peer.ID
	host *memnet.Host
	ln   net.Listener
	cfg  Config // for start
	hub  *Hub
	end  context.CancelFunc // of Run
	done chan error

	facts atomic.Pointer[Facts]
	dials atomic.Int32

	mu     sync.Mutex
	peers  []peer.ID
	events []string
}

const addr = ":14747"

// The promises of doc.go, written again: a test by the constants would follow them.
const (
	second     = time.Second
	silentFor  = 3500 * time.Millisecond
	writingFor = 2 * time.Second
	readingFor = 5 * time.Second
)

func nodeID(c byte) peer.ID { return peer.ID(strings.Repeat(string(c), 16)) }

// run makes a lab of n servers in a bubble. Afterwards nothing must be left.
func run(t *testing.T, n int, body func(l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{T: t, net: memnet.New()}
		for i := range n {
			l.add(i)
		}
		for _, s := range l.servers {
			s.setPeers(l.others(s)...)
		}
		defer l.clean() // also when body gives up
		body(l)
	})
}

func (l *lab) clean() {
	for _, s := range l.servers {
		s.stop()
		s.ln.Close()
	}
	synctest.Wait()
	if n := l.net.Conns(); n != 0 {
		l.Errorf("%d ends of connections are open", n)
	}
}

func (l *lab) add(i int) {
	c := byte('a' + i)
	s := &server{lab: l, id: nodeID(c), host: l.net.Host(string(c), fmt.Sprintf("10.0.0.%d", i+1))}
	s.facts.Store(&Facts{Term: 1, LastTerm: 1, LastIndex: uint64(c), Revision: uint64(c)})
	s.cfg = Config{
		Self: s.id, Boot: 1, Remote: l.remote, Dial: s.dial,
		Peers: s.getPeers,
		Facts: func() Facts { return *s.facts.Load() },
		Gone: func(from, leader peer.ID, term uint64, at Facts) {
			s.note("%c says that %c is gone in %d, at %d/%d", from[0], leader[0], term, at.LastTerm, at.LastIndex)
		},
		Stand: func(from peer.ID, term, index uint64) { s.note("%c says stand in %d at %d", from[0], term, index) },
		Up:    func(id peer.ID) { s.note("up %c", id[0]) },
		Down:  func(id peer.ID) { s.note("down %c", id[0]) },
	}
	s.listen()
	l.servers = append(l.servers, s)
}

func (l *lab) others(s *server) (ids []peer.ID) {
	for _, o := range l.servers {
		if o != s {
			ids = append(ids, o.id)
		}
	}
	return ids
}

func (l *lab) remote(c net.Conn) (peer.ID, bool) {
	ip := c.RemoteAddr().(*net.TCPAddr).IP.String()
	for _, s := range l.servers {
		if s.host.IP() == ip {
			return s.id, true
		}
	}
	return "", false
}

// startAll starts a hub on every server and waits until they stand still.
func (l *lab) startAll() {
	for _, s := range l.servers {
		s.start()
	}
	synctest.Wait()
}

func (s *server) listen() {
	s.lab.Helper()
	ln, err := s.host.Listen(s.lab.Context(), "tcp", addr)
	if err != nil {
		s.lab.Fatal(err)
	}
	s.ln = ln
}

func (s *server) start() {
	s.cfg.Listener = s.ln
	s.hub = New(s.cfg)
	ctx, cancel := context.WithCancel(context.Background())
	hub, done := s.hub, make(chan error, 1)
	s.end, s.done = cancel, done
	go func() { done <- hub.Run(ctx) }()
}

// stop ends the hub and looks at what it leaves behind.
func (s *server) stop() {
	s.lab.Helper()
	if s.hub == nil {
		return
	}
	s.end()
	if err := <-s.done; err != nil {
		s.lab.Errorf("%s: Run: %v", s.id, err)
	}
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := [...]int{len(h.waiting), len(h.links), len(h.up), len(h.reads)}; n != [4]int{} {
		s.lab.Errorf("%s leaves %v questions, connections, waiting, reads", s.id, n)
	}
	s.hub = nil
}

func (s *server) dial(ctx context.Context, to peer.ID) (net.Conn, error) {
	s.dials.Add(1)
	return s.host.DialContext(ctx, "tcp", string(to[:1])+addr)
}

func (s *server) setTerm(term uint64) {
	f := *s.facts.Load()
	f.Term = term
	s.facts.Store(&f)
}

func (s *server) getPeers() []peer.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peers
}

func (s *server) setPeers(ids ...peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers = ids
}

// change sets the peers and says so.
func (s *server) change(ids ...peer.ID) {
	s.setPeers(ids...)
	s.hub.Changed()
	synctest.Wait()
}

func (s *server) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, fmt.Sprintf(format, args...))
}

// heard compares what the callbacks were told since the last time, in order.
func (s *server) heard(want ...string) {
	s.lab.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := cmp.Diff(want, s.events); diff != "" {
		s.lab.Errorf("%s was told (-want +got):\n%s", s.id, diff)
	}
	s.events = nil
}

// alive checks which servers s is connected to.
func (s *server) alive(want string) {
	s.lab.Helper()
	var got []byte
	for _, o := range s.lab.servers {
		if s.hub.Alive(o.id) {
			got = append(got, o.id[0])
		}
	}
	if string(got) != want {
		s.lab.Errorf("%c is connected to %q, want %q", s.id[0], got, want)
	}
}

// soon is a context for what must end within d.
func (l *lab) soon(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(l.Context(), d)
	l.Cleanup(cancel)
	return ctx
}

// took checks how long something took, in the bubble's time.
func (l *lab) took(began time.Time, want time.Duration) {
	l.Helper()
	if got := time.Since(began); got != want {
		l.Errorf("took %v, want %v", got, want)
	}
}

// wire is an end of a connection that the test plays.
type wire struct {
	*testing.T
	net.Conn
}

// accept takes a connection that a hub dials, and says hello.
func (s *server) accept() wire {
	s.lab.Helper()
	c, err := s.ln.Accept()
	if err != nil {
		s.lab.Fatal(err)
	}
	w := wire{s.lab.T, c}
	w.send(frame{kind: kindBeat})
	synctest.Wait()
	return w
}

// call dials a hub and says nothing.
func (s *server) call(to *server) wire {
	s.lab.Helper()
	c, err := s.dial(s.lab.Context(), to.id)
	if err != nil {
		s.lab.Fatal(err)
	}
	synctest.Wait()
	return wire{s.lab.T, c}
}

func (w wire) send(frames ...frame) {
	w.Helper()
	var b []byte
	for _, f := range frames {
		b = f.append(b)
	}
	if _, err := w.Write(b); err != nil {
		w.Error(err)
	}
	synctest.Wait()
}

// next reads frames until one of a kind.
func (w wire) next(kinds ...kind) frame {
	w.Helper()
	var b [frameSize]byte
	var f frame
	for {
		if _, err := io.ReadFull(w, b[:]); err != nil {
			w.Fatalf("while waiting for %v: %v", kinds, err)
		}
		if err := f.parse(b[:]); err != nil {
			w.Fatal(err)
		}
		if slices.Contains(kinds, f.kind) {
			return f
		}
	}
}

// none reads what has come, which must hold no frame of the kind.
func (w wire) none(k kind) {
	w.Helper()
	if err := w.SetReadDeadline(time.Now().Add(time.Nanosecond)); err != nil {
		w.Fatal(err)
	}
	defer func() {
		if err := w.SetReadDeadline(time.Time{}); err != nil {
			w.Error(err)
		}
	}()
	var b [frameSize]byte
	for {
		if _, err := io.ReadFull(w, b[:]); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				w.Fatal(err)
			}
			return
		}
		var f frame
		if err := f.parse(b[:]); err != nil || f.kind == k {
			w.Fatalf("a frame of kind %v: %v", f.kind, err)
		}
	}
}

// over reads to the end of the connection, and gives the time that took.
func (w wire) over() time.Duration {
	w.Helper()
	began := time.Now()
	_, err := io.Copy(io.Discard, w)
	if err != nil {
		w.Error(err)
	}
	w.Close()
	return time.Since(began)
}

// ticking sends a beat every second, so that the connection lives, until stop.
func (w wire) ticking() (stop func()) {
	ctx, cancel := context.WithCancel(w.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(second)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				_, _ = w.Write((&frame{kind: kindBeat}).append(nil))
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

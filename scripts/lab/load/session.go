package load

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/ushercluster/usher/scripts/lab/history"
)

const (
	firstSession = 10_000 // client number of session 1, less one
	openAtATime  = 64     // sessions that arrive at once
)

// session is one browser: one goroutine's.
type session struct {
	l       *Load
	id      int
	rng     *rand.Rand
	route   route // over doors
	wires   []*wire
	cookies map[string]string
	owner   string // the node whose engine answered last
	began   sync.Once
}

func (l *Load) startSessions() {
	arrivals := make(chan struct{}, openAtATime)
	l.open.Add(l.cfg.Sessions)
	for i := range l.cfg.Sessions {
		id := firstSession + i + 1
		s := &session{
			l: l, id: id, rng: l.rng(id), route: newRoute(len(l.cfg.Nodes), i), wires: make([]*wire, len(l.cfg.Nodes)), cookies: map[string]string{},
		}
		socket := l.cfg.SocketShare > 0 && (i+1)%l.cfg.SocketShare == 0
		l.wg.Go(func() {
			defer s.close()
			defer s.opened()
			select {
			case arrivals <- struct{}{}:
			case <-l.quit:
				return
			}
			ok := s.arrive()
			<-arrivals
			switch {
			case !ok:
			case socket:
				s.keepTalking()
			default:
				s.keepAsking()
			}
		})
	}
}

// opened tells that the session need not be waited for.
func (s *session) opened() { s.began.Do(s.l.open.Done) }

func (s *session) close() {
	for _, w := range s.wires {
		if w != nil {
			w.close()
		}
	}
}

// arrive makes requests until one is answered; it reports whether one was.
func (s *session) arrive() bool {
	for !s.ask() {
		if !s.l.sleep(s.rng, s.route.failed(s.l.cfg.Rec.Now())) {
			return false
		}
	}
	s.route.worked()
	return true
}

func (s *session) keepAsking() {
	s.opened()
	for s.l.sleep(s.rng, s.l.pace.Session) {
		if !s.arrive() {
			return
		}
	}
}

func (s *session) path(rest string) string { return "/doc/" + url.PathEscape(s.l.cfg.Document) + rest }

func (s *session) op(k history.Kind, door int) history.Op {
	return history.Op{
		Client: s.id, Kind: k, Node: s.l.cfg.Nodes[door].Name, Key: strconv.Itoa(s.id - firstSession), Owner: s.owner, Begin: s.l.cfg.Rec.Now(),
	}
}

// ask makes one request, and reports whether it was answered.
func (s *session) ask() bool {
	door := s.route.next(s.l.cfg.Rec.Now())
	op := s.op(history.Request, door)
	got, err := s.exchange(door)
	op.End = s.l.cfg.Rec.Now()
	s.judge(&op, got, err)
	if err != nil && s.l.cut.Err() != nil {
		return false // cut off by Stop: that says nothing
	}
	s.l.record(op)
	return op.Outcome == history.OK
}

// judge fills in how a request ended, and remembers what a browser would.
func (s *session) judge(op *history.Op, got answer, err error) {
	node := got.header.Get(nodeHeader)
	switch {
	case err != nil:
		op.Outcome, op.Detail = history.Unknown, err.Error()
		return
	case got.status != http.StatusOK:
		op.Outcome, op.Detail = history.Refused, fmt.Sprintf("answered %d: %.200s", got.status, got.body)
		if got.status >= http.StatusInternalServerError {
			op.Outcome = history.Unknown
		}
	case node == "":
		op.Outcome, op.Detail = history.Unknown, "the answer does not say whose it is"
	default:
		op.Outcome, op.Value = history.OK, node
		s.owner = node
	}
	s.keep(got.header)
}

func (s *session) exchange(door int) (answer, error) {
	w := s.wires[door]
	if w == nil {
		var err error
		if w, err = newWire(s.l.cfg.Nodes[door].Door, s.l.pace.Patience, s.l.buffers); err != nil {
			return answer{}, fmt.Errorf("%w: %w", errNotSent, err)
		}
		s.wires[door] = w
	}
	return w.do(s.l.cut, http.MethodGet, w.request(http.MethodGet, s.path("/api/query?limit=1"), "", field{"Cookie", s.cookie()}))
}

// keep stores the cookies of an answer, as far as a door needs a browser to.
func (s *session) keep(h http.Header) {
	for _, c := range (&http.Response{Header: h}).Cookies() {
		if c.MaxAge < 0 {
			delete(s.cookies, c.Name)
		} else {
			s.cookies[c.Name] = c.Value
		}
	}
}

func (s *session) cookie() string {
	var b strings.Builder
	for name, value := range s.cookies {
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(name + "=" + value)
	}
	return b.String()
}

package builtin

import (
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	cookieName   = "demo-session"
	sessionBytes = 16

	maxSessions      = 10_000
	maxSelected      = 1_000 // values that one session has selected in one document
	maxSessionTables = 64    // documents in which one session has selections
)

// session is what the engine remembers of one browser. It lives in this
// process's memory only: a user who lands on another engine starts anew, which
// is what the front door's stickiness is there to prevent.
type session struct {
	id string

	mu         sync.Mutex
	seen       time.Time
	open       int // WebSockets: while there is one, the session is not idle
	requests   int64
	selections map[string]Selections // by document
}

// short is the part of the ID that may be shown; the whole is a secret.
func (s *session) short() string { return s.id[:8] }

// touch counts a request.
func (s *session) touch(now time.Time) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = now
	s.requests++
	return s.requests
}

func (s *session) hold(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += n
}

func (s *session) idleSince() (seen time.Time, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen, s.open > 0
}

// selected returns a copy of the selections in a document.
func (s *session) selected(key string) Selections {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(Selections, len(s.selections[key]))
	maps.Copy(out, s.selections[key]) // the slices are never changed
	return out
}

// choose replaces the selections of the columns that change names; an empty list
// takes a column's selection away. It keeps all or, with an error, nothing.
func (s *session) choose(key string, change Selections) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := maps.Clone(s.selections[key])
	if next == nil {
		next = Selections{}
	}
	for column, values := range change {
		if len(values) == 0 {
			delete(next, column)
			continue
		}
		next[column] = slices.Compact(slices.Sorted(slices.Values(values)))
	}
	n := 0
	for _, values := range next {
		n += len(values)
	}
	if n > maxSelected {
		return fmt.Errorf("%d values selected: at most %d are kept", n, maxSelected)
	}
	if _, known := s.selections[key]; !known && len(s.selections) >= maxSessionTables {
		return fmt.Errorf("selections in more than %d documents", maxSessionTables)
	}
	if s.selections == nil {
		s.selections = map[string]Selections{}
	}
	s.selections[key] = next
	return nil
}

// sessions is the table of sessions. Nothing sweeps it in the background: it is
// swept by requests, and the agent's probes are requests.
type sessions struct {
	idle time.Duration
	now  func() time.Time
	rand io.Reader

	mu      sync.Mutex
	byID    map[string]*session
	created int64
	swept   time.Time
}

// find returns the session that r's cookie names, or nil.
func (t *sessions) find(r *http.Request) *session {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return nil
	}
	t.mu.Lock()
	s := t.byID[c.Value]
	t.mu.Unlock()
	if s == nil || t.expired(s, t.now()) {
		return nil
	}
	return s
}

// enter returns the session of r, making one and setting its cookie if there is
// none.
func (t *sessions) enter(w http.ResponseWriter, r *http.Request) (*session, error) {
	if s := t.find(r); s != nil {
		return s, nil
	}
	var b [sessionBytes]byte
	if _, err := io.ReadFull(t.rand, b[:]); err != nil {
		return nil, fmt.Errorf("draw session id: %w", err)
	}
	s := &session{id: hex.EncodeToString(b[:]), seen: t.now()}
	t.mu.Lock()
	if len(t.byID) >= maxSessions {
		t.evict()
	}
	t.byID[s.id] = s
	t.created++
	t.mu.Unlock()
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: s.id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	})
	return s, nil
}

func (t *sessions) expired(s *session, now time.Time) bool {
	seen, open := s.idleSince()
	return !open && now.Sub(seen) >= t.idle
}

// sweep forgets idle sessions, at most ten times per idle time.
func (t *sessions) sweep() {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.swept) < t.idle/10 {
		return
	}
	t.swept = now
	maps.DeleteFunc(t.byID, func(_ string, s *session) bool { return t.expired(s, now) })
}

// evict forgets the session that was seen longest ago, of a few that the map's
// random order offers: near enough, and cheap when strangers fill the table.
func (t *sessions) evict() {
	var oldest *session
	var when time.Time
	n := 0
	for _, s := range t.byID {
		seen, open := s.idleSince()
		if !open && (oldest == nil || seen.Before(when)) {
			oldest, when = s, seen
		}
		if n++; n == 64 && oldest != nil {
			break
		}
	}
	if oldest != nil {
		delete(t.byID, oldest.id)
	}
}

func (t *sessions) count() (now int, created int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID), t.created
}

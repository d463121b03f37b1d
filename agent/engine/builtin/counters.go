package builtin

import (
	"slices"
	"sync"
	"time"
)

// maxAttempts bounds the recent attempts that Counters remembers.
const maxAttempts = 1024

// Counters is what the engine did since it started: what tests compare with the
// scheduler's history.
type Counters struct {
	Requests         int64               `json:"requests"` // by users: not probes, not the engine API
	Sessions         int                 `json:"sessions"` // in memory now
	SessionsCreated  int64               `json:"sessions_created"`
	WebSockets       int                 `json:"websockets"` // open now
	WebSocketsOpened int64               `json:"websockets_opened"`
	Documents        map[string]Reloads  `json:"documents"` // that had a reload call
	Attempts         []AttemptCount      `json:"attempts"`  // the newest 1,024, oldest first
	Loads            map[string]LoadInfo `json:"loads"`     // documents in memory
}

// LoadInfo is a document in memory.
type LoadInfo struct {
	Rows   int       `json:"rows"`
	Bytes  int64     `json:"bytes"`
	Loaded time.Time `json:"loaded"`
}

// Reloads counts reload calls: every one that started ends finished or failed,
// one that was refused never started.
type Reloads struct {
	Started  int64 `json:"started"`
	Finished int64 `json:"finished"`
	Failed   int64 `json:"failed"` // malformed, timed out, aborted or superseded
	Refused  int64 `json:"refused"`
}

// Attempt names one try at one occurrence of a task on a document.
type Attempt struct {
	Document   string    `json:"document"`
	Task       string    `json:"task"`
	Occurrence time.Time `json:"occurrence"`
	Attempt    int       `json:"attempt"`
}

// AttemptCount is how often an attempt arrived here. More than one start is a
// fault of the scheduler, and the engine does not hide it.
type AttemptCount struct {
	Attempt
	Reloads
	Fence  uint64 `json:"fence"`  // of the last call
	Result string `json:"result"` // of the last call: running, ok, or an error code
}

type outcome int

const (
	reloadStarted outcome = iota
	reloadFinished
	reloadFailed
	reloadRefused
)

func (r *Reloads) count(o outcome) {
	switch o {
	case reloadStarted:
		r.Started++
	case reloadFinished:
		r.Finished++
	case reloadFailed:
		r.Failed++
	case reloadRefused:
		r.Refused++
	}
}

// ledger keeps the counts of reloads. It is safe for concurrent use.
type ledger struct {
	mu        sync.Mutex
	documents map[string]*Reloads
	attempts  map[Attempt]*AttemptCount
	order     []Attempt // of first arrival
}

func newLedger() *ledger {
	return &ledger{documents: map[string]*Reloads{}, attempts: map[Attempt]*AttemptCount{}}
}

// record counts one outcome. The document exists: strangers cannot grow the
// ledger by names they make up.
func (l *ledger) record(a Attempt, fence uint64, o outcome, result string) {
	a.Occurrence = a.Occurrence.UTC() // equal times must be equal keys
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.documents[a.Document]
	if d == nil {
		d = &Reloads{}
		l.documents[a.Document] = d
	}
	d.count(o)
	c := l.attempts[a]
	if c == nil {
		if len(l.order) == maxAttempts {
			delete(l.attempts, l.order[0])
			l.order = slices.Delete(l.order, 0, 1)
		}
		c = &AttemptCount{Attempt: a}
		l.attempts[a] = c
		l.order = append(l.order, a)
	}
	c.count(o)
	c.Fence, c.Result = fence, result
}

func (l *ledger) snapshot() (map[string]Reloads, []AttemptCount) {
	l.mu.Lock()
	defer l.mu.Unlock()
	docs := make(map[string]Reloads, len(l.documents))
	for k, r := range l.documents {
		docs[k] = *r
	}
	attempts := make([]AttemptCount, 0, len(l.order))
	for _, a := range l.order {
		attempts = append(attempts, *l.attempts[a])
	}
	return docs, attempts
}

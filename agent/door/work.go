package door

import (
	"math"
	"sync"
	"time"
)

// workMemory is over how long the requests in flight are averaged for placing:
// exponentially, with this time constant. A session stays for an hour; what counts
// is whether its engine has been busy, not whether it is answering in this instant.
// The first requests of a burst's sessions would else count beside the sessions
// themselves, and more so at the engines that were asked later.
const workMemory = 10 * time.Second

// work measures the requests in flight at one engine. The zero value is ready.
type work struct {
	mu   sync.Mutex
	n    int64
	mean float64
	at   int64 // when mean was brought up to date, Unix nanoseconds
}

func (w *work) add(delta, now int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance(now)
	w.n += delta
}

// now is how many requests are in flight.
func (w *work) now() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return int(w.n)
}

// average is how many were in flight of late, rounded.
func (w *work) average(now int64) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance(now)
	return int(math.Round(w.mean))
}

func (w *work) advance(now int64) {
	if d := now - w.at; d > 0 {
		w.mean += (float64(w.n) - w.mean) * -math.Expm1(-float64(d)/float64(workMemory))
		w.at = now
	}
}

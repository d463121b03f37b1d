package admin

import (
	"net/netip"
	"sync"
	"time"
)

// Bounds of guessing.
const (
	guessesPerMinute = 10
	guessWindow      = time.Minute
	maxGuessers      = 4096
)

// limiter counts wrong tokens by address. It slows down and quietens whoever sends
// many; right tokens pass all the same, because 192 random bits cannot be guessed
// and a lock on an address (a proxy, loopback) would keep the operators out.
type limiter struct {
	now   func() time.Time
	mu    sync.Mutex
	table map[netip.Addr]*guesses
}

type guesses struct {
	count int
	until time.Time // end of the window
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, table: map[netip.Addr]*guesses{}}
}

// failed counts a wrong token from a host:port, and returns how long its answer
// shall be 429: zero while there were at most ten in the window.
func (l *limiter) failed(remote string) time.Duration {
	key, now := addressOf(remote), l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.table[key]
	if g == nil || !now.Before(g.until) {
		l.makeRoom(now)
		g = &guesses{until: now.Add(guessWindow)}
		l.table[key] = g
	}
	if g.count++; g.count <= guessesPerMinute {
		return 0
	}
	return g.until.Sub(now)
}

// makeRoom keeps the table bounded: ended windows go first, else the oldest.
func (l *limiter) makeRoom(now time.Time) {
	if len(l.table) < maxGuessers {
		return
	}
	var oldest netip.Addr
	var until time.Time
	for a, g := range l.table {
		if !now.Before(g.until) {
			delete(l.table, a)
		} else if until.IsZero() || g.until.Before(until) {
			oldest, until = a, g.until
		}
	}
	if len(l.table) >= maxGuessers {
		delete(l.table, oldest)
	}
}

// addressOf is the address that is counted: a whole /64 for IPv6, because that is
// what one machine has to choose from. What is no address counts as one.
func addressOf(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	a := ap.Addr().Unmap().WithZone("")
	if a.Is6() {
		p, err := a.Prefix(64)
		if err == nil {
			return p.Addr()
		}
	}
	return a
}

func isLoopback(remote string) bool {
	ap, err := netip.ParseAddrPort(remote)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

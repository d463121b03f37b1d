package consensus

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/consensus/pulse"
	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// The leader's clock becomes the state's time. So it is held against the clocks that
// the voters show in their pulses: two seconds off their median, the median is stamped
// in its place; thirty seconds off, the role is given up before the first command.
const (
	clockCorrected = 2 * time.Second
	clockUnfit     = 30 * time.Second
	clockFresh     = 5 * time.Second // a pulse that is older says nothing of its clock
	clockLook      = time.Second     // pulses bring no news more often
)

// clockOffset is how far the median of the voters' clocks is ahead of ours: the
// offsets of the others as they were heard, and nought for ourselves if we vote. It is
// false when fewer than a majority of the voters is known: then nothing can be said.
// Of an even number the median nearer to our own clock counts.
func clockOffset(others []time.Duration, weVote bool, voters int) (time.Duration, bool) {
	all := slices.Clone(others)
	if weVote {
		all = append(all, 0)
	}
	if len(all) < voters/2+1 {
		return 0, false
	}
	slices.Sort(all)
	lower, upper := all[(len(all)-1)/2], all[len(all)/2]
	if lower.Abs() < upper.Abs() {
		return lower, true
	}
	return upper, true
}

// offset is clockOffset of the present voters.
func (s *Store) offset() (time.Duration, bool) {
	voters := s.voters()
	var others []time.Duration
	now := s.cfg.Now()
	for _, id := range voters {
		if b, ok := s.pulse.Latest(id); ok && id != s.cfg.Self && now.Sub(b.Received).Abs() < clockFresh {
			others = append(others, aheadNow(b, now))
		}
	}
	return clockOffset(others, slices.Contains(voters, s.cfg.Self), len(voters))
}

// aheadNow is how far the clock that a pulse showed is ahead of ours now. That is not
// what it was then if our own clock was set in between: the time that has passed is
// taken from the monotonic clock, if now has it.
func aheadNow(b pulse.Beat, now time.Time) time.Duration {
	return aheadAfter(b.Ahead, now.Sub(b.Received), now.Round(0).Sub(b.Received.Round(0)))
}

// aheadAfter is what became of an offset while some time passed, by our wall clock another.
func aheadAfter(ahead, passed, byWall time.Duration) time.Duration { return ahead + passed - byWall }

// lastOffset keeps an offset, for entries that are many a second. It is safe for concurrent
// use; its zero value is ready.
type lastOffset struct {
	mu    sync.Mutex
	off   time.Duration
	known bool
	at    time.Time
}

// get gives the offset as it is now, by what look said within the last clockLook. If our
// own clock was set in between, the offset has changed by as much.
func (l *lastOffset) get(now time.Time, look func() (time.Duration, bool)) (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	passed := now.Sub(l.at)
	if l.at.IsZero() || passed < 0 || passed >= clockLook {
		l.off, l.known = look()
		l.at, passed = now, 0
	}
	return aheadAfter(l.off, passed, now.Round(0).Sub(l.at.Round(0))), l.known
}

// now is the time that an entry is stamped with.
func (s *Store) now() time.Time {
	now := s.cfg.Now()
	if off, ok := s.clock.get(now, s.offset); ok && off.Abs() > clockCorrected {
		return now.Add(off)
	}
	return now
}

// giveUpForClock hands a term over to another voter if our clock is far off. When
// nobody takes it, the role stays, with the others' median as its time.
func (s *Store) giveUpForClock(t term) {
	off, ok := s.offset()
	if !ok || off.Abs() <= clockUnfit {
		return
	}
	s.log.Error().Dur("offset", off).Msg("this node's clock is far from the others'; the central role is given up: set the clock, best by NTP")
	defer s.hold()()
	for _, id := range s.byProgress() {
		if b, _ := s.pulse.Latest(id); (aheadNow(b, s.cfg.Now()) - off).Abs() > clockUnfit {
			continue // it would give the role back
		}
		ctx, cancel := context.WithTimeout(t.ctx, handoverTimeout)
		err := s.handOver(ctx, t, id)
		cancel()
		if err == nil || t.ctx.Err() != nil {
			return
		}
		s.log.Warn().Err(err).Str(logs.Peer, string(id)).Msg("a voter did not take the central role")
	}
}

// byProgress are the other voters that the pulse reaches, the longest log first.
func (s *Store) byProgress() []peer.ID {
	var out []peer.ID
	for _, id := range s.voters() {
		if id != s.cfg.Self && s.pulse.Alive(id) {
			out = append(out, id)
		}
	}
	slices.SortStableFunc(out, func(a, b peer.ID) int {
		x, _ := s.pulse.Latest(a)
		y, _ := s.pulse.Latest(b)
		return int(min(max(int64(y.LastIndex)-int64(x.LastIndex), -1), 1))
	})
	return out
}

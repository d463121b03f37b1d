package placement

import (
	"cmp"

	"github.com/ushercluster/usher/agent/peer"
)

// minSpare keeps busy machines comparable: permille. Above four fifths of
// utilisation a report says more about the moment in which it was made than about
// the machine, and 1/(1-utilisation) would make a cliff of that noise.
const minSpare = 200

// score is how much work waits per spare capacity; less is better. Sessions are
// the work, for they stay for an hour, and requests being answered count on top.
// What is spare is the scarcest of CPU, memory and what the engine says of
// itself, as the time in a queue grows with 1/(1-utilisation).
func score(sessions int, l Load, w int) int64 {
	work := int64(sessions) + int64(l.InFlight) + 1
	return work * 1_000_000 / (weight(w) * spare(l))
}

// spare is what the free capacity counts for in permille, from 800 to 1000. It is
// drawn most of the way to 1000: a session stays for an hour and a report says how
// the last seconds were, so a machine that is busy now gets fewer sessions, not
// none. One that stays busy has more requests waiting, and those count in full.
// Memory counts only once less than a fifth is free: what lies below that is cache,
// not load.
func spare(l Load) int64 {
	s := 1000 - int64(l.CPUPermille)
	if l.Permille >= 0 {
		s = min(s, 1000-int64(l.Permille))
	}
	if l.MemTotalBytes > 0 {
		free := int64(float64(l.MemFreeBytes) / float64(l.MemTotalBytes) * 1000)
		s = min(s, 5*free)
	}
	return (3000 + max(minSpare, min(1000, s))) / 4
}

// perWeight is the number that the strategy ranks by; less is better.
func perWeight(s Strategy, sessions int, l Load, w int) int64 {
	if s == Sessions {
		return int64(sessions+1) * 1_000_000 / weight(w)
	}
	return score(sessions, l, w)
}

// Score is the number by which strategy s ranks c; less is better. It counts the
// report and what this door opened since.
func Score(s Strategy, c Candidate) int64 {
	return perWeight(s, c.Load.Sessions+c.Own, c.Load, c.Weight)
}

// compare ranks two candidates; of equals the one that holds the document is first.
func compare(s Strategy, a, b Candidate) int {
	if d := cmp.Compare(Score(s, a), Score(s, b)); d != 0 {
		return d
	}
	switch {
	case a.HoldsDocument && !b.HoldsDocument:
		return -1
	case b.HoldsDocument && !a.HoldsDocument:
		return 1
	}
	return 0
}

// Answer is what an engine's owner says when a door asks it to take a session.
// Places that are kept for others do not count in its load, only towards OK.
type Answer struct {
	Engine peer.EngineID
	OK     bool
	Reason Reason // why not
	Load   Load
	Weight int
}

// Better reports whether the answer b of the engine asked second beats the answer
// a of the one preferred. Refusals never win. The strategies that go by turn keep
// their turn; the others compare the fresh loads.
func Better(s Strategy, a, b Answer) bool {
	if !a.OK || !b.OK {
		return b.OK
	}
	if s == Random || s == RoundRobin {
		return false
	}
	return perWeight(s, b.Load.Sessions, b.Load, b.Weight) < perWeight(s, a.Load.Sessions, a.Load, a.Weight)
}

package detection

import (
	"slices"
	"time"

	"github.com/ushercluster/usher/scripts/lab/world"
)

// damping is how long who has taken part in an election by detection does not again.
const damping = 10 * time.Second

// elections are what logs tell of who led, and of who said that leaders were gone.
type elections struct {
	All      int         // terms that somebody led
	Detected []time.Time // when a majority had agreed that the leader of a term was gone, in order
}

// electionsOf counts those after a time. Of the same term a majority agrees once.
func electionsOf(lines []world.Line, voters int, after time.Time) elections {
	lines = slices.Clone(lines)
	slices.SortStableFunc(lines, func(a, b world.Line) int { return a.At.Compare(b.At) })
	led, said := map[uint64]bool{}, map[uint64]map[string]bool{}
	var e elections
	for _, l := range lines {
		switch {
		case l.At.Before(after):
		case l.Message == world.Leads && !led[l.Term]:
			led[l.Term] = true
			e.All++
		case l.Message == world.Gone && !said[l.Term][l.Node]:
			if said[l.Term] == nil {
				said[l.Term] = map[string]bool{}
			}
			said[l.Term][l.Node] = true
			if len(said[l.Term]) == voters/2+1 {
				e.Detected = append(e.Detected, l.At)
			}
		}
	}
	return e
}

// mostWithin is how many of the times, which are in order, lie within one span of length d.
func mostWithin(times []time.Time, d time.Duration) int {
	most := 0
	for i, first := range times {
		n := 1
		for _, t := range times[i+1:] {
			if t.Sub(first) < d {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

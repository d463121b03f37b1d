package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/ushercluster/usher/agent/peer"
)

// Strategy names how a new session finds its engine.
type Strategy string

// The strategies. Each goes by engine, never by node, and by weight.
const (
	LeastLoaded Strategy = "least-loaded" // the default: sessions, CPU, memory and the engine's own word
	Random      Strategy = "random"
	RoundRobin  Strategy = "round-robin" // of this door
	Sessions    Strategy = "sessions"    // the fewest sessions for its weight
)

// ParseStrategy reads a strategy's name; "" is the default.
func ParseStrategy(s string) (Strategy, error) {
	switch Strategy(s) {
	case "":
		return LeastLoaded, nil
	case LeastLoaded, Random, RoundRobin, Sessions:
		return Strategy(s), nil
	}
	return "", fmt.Errorf("strategy %q: use %s, %s, %s or %s", s, LeastLoaded, Random, RoundRobin, Sessions)
}

// sampleSize is how many engines are drawn before they are ranked. With all of
// them every door ranks alike and runs to the same two.
const sampleSize = 5

// State is what a strategy remembers from one choice to the next. The zero State
// is ready. It is not safe for concurrent use; a door keeps one under its lock.
type State struct {
	credit map[peer.EngineID]int64 // round-robin: what each engine is owed
}

// Choose returns the indexes in cs of the engine to prefer and of the one to ask
// beside it; -1 stands for none. cs must hold eligible candidates only (see
// Filter), each engine once. Only round-robin uses st, which may else be nil.
func Choose(s Strategy, cs []Candidate, rng *rand.Rand, st *State) (first, second int) {
	switch len(cs) {
	case 0:
		return -1, -1
	case 1:
		return 0, -1
	}
	switch s {
	case Random:
		drawn := sample(cs, 2, rng)
		return drawn[0], drawn[1]
	case RoundRobin:
		return st.next(cs)
	}
	drawn := sample(cs, sampleSize, rng)
	slices.SortStableFunc(drawn, func(a, b int) int { return compare(s, cs[a], cs[b]) })
	return drawn[0], drawn[1]
}

// PowerOfTwo draws two of cs by weight and returns the index of the less loaded
// one as far as is known; it is what remains when nobody answered. It returns -1
// when cs is empty.
func PowerOfTwo(s Strategy, cs []Candidate, rng *rand.Rand) int {
	drawn := sample(cs, 2, rng)
	switch {
	case len(drawn) == 0:
		return -1
	case len(drawn) == 2 && compare(s, cs[drawn[1]], cs[drawn[0]]) < 0:
		return drawn[1]
	}
	return drawn[0]
}

// sample draws up to n indexes of cs without replacement, by weight and in the
// order drawn: the smallest of exponential variates with the weights as rates
// (Efraimidis and Spirakis 2006, "Weighted random sampling with a reservoir").
func sample(cs []Candidate, n int, rng *rand.Rand) []int {
	type draw struct {
		key   float64
		index int
	}
	var best [sampleSize]draw // sorted by key
	n = min(n, len(cs), sampleSize)
	for i := range cs {
		d := draw{rng.ExpFloat64() / float64(weight(cs[i].Weight)), i}
		have := min(i, n)
		at := have
		for at > 0 && best[at-1].key > d.key {
			at--
		}
		if at == n {
			continue
		}
		copy(best[at+1:min(have+1, n)], best[at:have])
		best[at] = d
	}
	out := make([]int, n)
	for i := range out {
		out[i] = best[i].index
	}
	return out
}

// next is smooth weighted round-robin: every engine earns its weight, the richest
// is taken and pays what all earned. Heavier engines come oftener, but not in a row.
func (st *State) next(cs []Candidate) (first, second int) {
	if st.credit == nil || len(st.credit) > 4*len(cs)+64 {
		st.credit = make(map[peer.EngineID]int64, len(cs))
	}
	var total int64
	for i := range cs {
		w := weight(cs[i].Weight)
		total += w
		st.credit[cs[i].Engine] += w
	}
	order := make([]int, len(cs))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if d := st.credit[cs[b].Engine] - st.credit[cs[a].Engine]; d != 0 {
			return int(max(-1, min(1, d)))
		}
		return strings.Compare(string(cs[a].Engine), string(cs[b].Engine))
	})
	st.credit[cs[order[0]].Engine] -= total
	return order[0], order[1]
}

package placement

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ushercluster/usher/agent/peer"
)

// world is a cluster in which every node is a door and has one engine. Each engine
// reports once a second, at its own moment; a report arrives at all doors at once,
// and they add what they opened themselves since.
type world struct {
	rng      *rand.Rand
	weights  []int
	sessions []int         // the truth
	reported []int         // up to a second old
	own      []map[int]int // per door
	states   []State
	step     int
	log      []placed
}

// placed is a session that a door opened.
type placed struct{ step, door, engine int }

func newWorld(n int, weights []int) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(1, 2)), weights: weights, sessions: make([]int, n),
		reported: make([]int, n), own: make([]map[int]int, n), states: make([]State, n),
	}
	for i := range w.own {
		w.own[i] = map[int]int{}
	}
	return w
}

func (w *world) weight(i int) int { return w.weights[i%len(w.weights)] }

func (w *world) candidates(door int) []Candidate {
	cs := make([]Candidate, len(w.sessions))
	for i := range cs {
		cs[i] = Candidate{
			Engine: peer.EngineID(fmt.Sprint(i)), Weight: w.weight(i), State: peer.StateActive,
			Status: peer.StatusAlive, Health: peer.Healthy,
			Load: Load{Sessions: w.reported[i], Permille: -1}, Own: w.own[door][i],
		}
	}
	return cs
}

// run opens perSecond sessions a second, one after the other, through random doors;
// place picks the engine.
func (w *world) run(seconds, perSecond int, place func(door int, cs []Candidate) int) {
	phase := make([]int, len(w.sessions))
	for i := range phase {
		phase[i] = w.rng.IntN(perSecond)
	}
	for step := range seconds * perSecond {
		for i := range phase {
			if phase[i] == step%perSecond {
				w.report(i)
			}
		}
		door := w.rng.IntN(len(w.own))
		e := place(door, w.candidates(door))
		w.sessions[e]++
		w.own[door][e]++
		w.step++
		w.log = append(w.log, placed{w.step, door, e})
	}
}

func (w *world) report(engine int) {
	w.reported[engine] = w.sessions[engine]
	for door := range w.own {
		delete(w.own[door], engine)
	}
}

// settled are an engine's sessions without those that other doors opened in the last
// steps.
func (w *world) settled(engine, door, late int) int {
	n := w.sessions[engine]
	for i := len(w.log) - 1; i >= 0 && w.log[i].step > w.step-late; i-- {
		if w.log[i].engine == engine && w.log[i].door != door {
			n--
		}
	}
	return n
}

// askTwo is the whole way of a new session: choose, ask, take the better. Owners leave
// out what other doors opened in the last steps.
func (w *world) askTwo(s Strategy, late int) func(int, []Candidate) int {
	return func(door int, cs []Candidate) int {
		a, b := Choose(s, cs, w.rng, &w.states[door])
		answer := func(i int) Answer {
			return Answer{Engine: cs[i].Engine, OK: true, Weight: cs[i].Weight, Load: Load{Sessions: w.settled(i, door, late), Permille: -1}}
		}
		if Better(s, answer(a), answer(b)) {
			return b
		}
		return a
	}
}

// naive takes the least loaded by the last report.
func naive(_ int, cs []Candidate) int {
	best := 0
	for i := range cs {
		if cs[i].Load.Sessions < cs[best].Load.Sessions {
			best = i
		}
	}
	return best
}

func (w *world) largestOverMean() float64 {
	total, largest := 0, 0
	for _, n := range w.sessions {
		total += n
		largest = max(largest, n)
	}
	return float64(largest) * float64(len(w.sessions)) / float64(total)
}

func TestSpread(t *testing.T) {
	const n = 50
	cases := []struct {
		name     string
		place    func(w *world) func(int, []Candidate) int
		min, max float64
	}{
		{"ask the best two of five", func(w *world) func(int, []Candidate) int { return w.askTwo(LeastLoaded, 0) }, 1, 1.10},
		{"answers a tenth of a second old", func(w *world) func(int, []Candidate) int { return w.askTwo(LeastLoaded, 5*n/10) }, 1, 1.10},
		{"answers a second old", func(w *world) func(int, []Candidate) int { return w.askTwo(LeastLoaded, 5*n) }, 1.11, 1.60},
		{"ask two by sessions", func(w *world) func(int, []Candidate) int { return w.askTwo(Sessions, 0) }, 1, 1.10},
		{"power of two", func(w *world) func(int, []Candidate) int {
			return func(_ int, cs []Candidate) int { return PowerOfTwo(LeastLoaded, cs, w.rng) }
		}, 1, 1.20},
		{"random", func(w *world) func(int, []Candidate) int { return w.askTwo(Random, 0) }, 1.15, 1.60},
		{"round-robin", func(w *world) func(int, []Candidate) int { return w.askTwo(RoundRobin, 0) }, 1, 1.60},
		{"naive, a herd", func(*world) func(int, []Candidate) int { return naive }, 1.5, 10},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(n, []int{DefaultWeight})
			w.run(10, 5*n, c.place(w))
			got := w.largestOverMean()
			t.Logf("largest over mean: %.3f", got)
			if got < c.min || got > c.max {
				t.Errorf("largest over mean is %.3f, want %.2f to %.2f", got, c.min, c.max)
			}
		})
	}
}

func TestWeights(t *testing.T) {
	weights := []int{50, 100, 100, 150, 200}
	for _, s := range []Strategy{LeastLoaded, Sessions, Random, RoundRobin} {
		t.Run(string(s), func(t *testing.T) {
			w := newWorld(len(weights), weights)
			const sessions = 30_000
			w.run(sessions/20, 20, w.askTwo(s, 0))
			for i, got := range w.sessions {
				want := sessions * weights[i] / 600
				if d := float64(got)/float64(want) - 1; d < -0.05 || d > 0.05 {
					t.Errorf("engine %d of weight %d has %d sessions, want %d within 5 %%", i, weights[i], got, want)
				}
			}
		})
	}
}

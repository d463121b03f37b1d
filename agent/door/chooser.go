package door

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
)

// openMemory bounds how long the door's own openings are kept to correct reports.
const openMemory = time.Minute

// chooser is the part of placing that remembers something: the random source, turns,
// and what this door opened where since the last reports.
type chooser struct {
	mu     sync.Mutex
	rng    *rand.Rand
	state  placement.State
	opened map[peer.EngineID][]int64 // when, Unix nanoseconds, oldest first
	asked  map[peer.EngineID]int     // questions under way; each engine gets about half of them
}

func newChooser(rng *rand.Rand) *chooser {
	return &chooser{rng: rng, opened: map[peer.EngineID][]int64{}, asked: map[peer.EngineID]int{}}
}

// choose picks the two to ask; settle must follow. Users of a burst are all chosen
// for before any of them is settled, so the questions under way count too.
func (c *chooser) choose(s placement.Strategy, cs []placement.Candidate) (first, second int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ranked := slices.Clone(cs)
	for i := range ranked {
		ranked[i].Own += (c.asked[ranked[i].Engine] + 1) / 2
	}
	first, second = placement.Choose(s, ranked, c.rng, &c.state)
	for _, i := range []int{first, second} {
		if i >= 0 {
			c.asked[cs[i].Engine]++
		}
	}
	return first, second
}

func (c *chooser) powerOfTwo(s placement.Strategy, cs []placement.Candidate) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return placement.PowerOfTwo(s, cs, c.rng)
}

// note remembers that this door opened a session.
func (c *chooser) note(e peer.EngineID, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened[e] = append(c.opened[e], now.UnixNano())
}

// settle takes the better of the answers, or -1, and remembers the choice. The owners
// answered without knowing what this door decided since it asked: a whole burst of
// users may have asked at once, and would all go to the engine that was ahead in
// that instant. What was decided since then is therefore counted on top.
func (c *chooser) settle(s placement.Strategy, asked []placement.Candidate, answers []placement.Answer, at, now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range asked {
		if c.asked[a.Engine]--; c.asked[a.Engine] <= 0 {
			delete(c.asked, a.Engine)
		}
	}
	for i := range answers {
		times := c.opened[answers[i].Engine]
		n, _ := slices.BinarySearch(times, at.UnixNano())
		answers[i].Load.Sessions += len(times) - n
	}
	best := pick(s, asked, answers)
	if best >= 0 {
		e := asked[best].Engine
		c.opened[e] = append(c.opened[e], now.UnixNano())
	}
	return best
}

// since counts what this door opened after a report of the engine arrived, and
// forgets the rest.
func (c *chooser) since(e peer.EngineID, reported, now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	times := c.opened[e]
	if len(times) == 0 {
		return 0
	}
	after := max(now.Add(-openMemory).UnixNano(), 0)
	if !reported.IsZero() {
		after = max(after, reported.UnixNano())
	}
	i, _ := slices.BinarySearch(times, after+1)
	if times = times[i:]; len(times) == 0 {
		delete(c.opened, e)
		return 0
	}
	c.opened[e] = times
	return len(times)
}

// rendezvous orders candidates for a key so that all doors agree and few keys move
// when an engine comes or goes: weighted highest random weight (Thaler and
// Ravishankar 1998; weights as in Schindelhauer and Schomaker 2005).
func rendezvous(key SessionID, cs []placement.Candidate) {
	score := func(c placement.Candidate) float64 {
		sum := sha256.Sum256(append(key[:], c.Engine...))
		u := (float64(binary.BigEndian.Uint64(sum[:])>>11) + 0.5) / (1 << 53)
		return -float64(max(1, c.Weight)) / math.Log(u)
	}
	slices.SortFunc(cs, func(a, b placement.Candidate) int {
		return cmp.Or(cmp.Compare(score(b), score(a)), bytes.Compare([]byte(a.Engine), []byte(b.Engine)))
	})
}

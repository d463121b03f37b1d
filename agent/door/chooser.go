package door

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
)

const (
	// openMemory bounds how long the door's own decisions, and the answers that it
	// got, are kept to correct reports.
	openMemory = time.Minute

	// askLag is how old the counts are that doors compare. Answers reach a door
	// milliseconds apart, and while a burst of users arrives at all doors at once,
	// the engine that answered last would seem fuller by what the other doors opened
	// in between: each door would run away from it. So owners leave the last moment
	// out (see ownedEngine.settled), the same for every engine, and the door adds
	// exactly what it decided itself. It is twice the time that answers may take by
	// default, so that a burst is over by then; longer would make doors run together
	// where users come steadily (placement's simulation).
	askLag = 100 * time.Millisecond
)

// wordLife is how long an answer is better than any report.
const wordLife = 500 * time.Millisecond

// stamp is when a door decided that a session goes to an engine, by that door's own
// clock in Unix nanoseconds. No two decisions of a door share one. 0 is none.
type stamp int64

// word is what an owner said of its engine, in answer to a question.
type word struct {
	load  placement.Load
	since stamp // own decisions up to it are counted in load, later ones are not
	heard time.Time
}

// heard is an answer with what this door has to add to it.
type heard struct {
	placement.Answer
	since    stamp // as in word
	presumed bool  // nobody said so: it is what the last report tells
}

// chooser is the part of placing that remembers something: the random source, turns,
// what the owners said last, and what this door decided.
type chooser struct {
	mu      sync.Mutex
	rng     *rand.Rand
	state   placement.State
	decided map[peer.EngineID][]stamp // ascending
	last    stamp                     // of all decisions
	asked   map[peer.EngineID]int     // questions under way; each engine gets about half of them
	words   map[peer.EngineID]word    // the newest of each engine
}

func newChooser(rng *rand.Rand) *chooser {
	return &chooser{
		rng: rng, decided: map[peer.EngineID][]stamp{}, asked: map[peer.EngineID]int{}, words: map[peer.EngineID]word{},
	}
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

// guess decides without an answer.
func (c *chooser) guess(s placement.Strategy, cs []placement.Candidate, now time.Time) (int, stamp) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := placement.PowerOfTwo(s, cs, c.rng)
	if i < 0 {
		return -1, 0
	}
	return i, c.note(cs[i].Engine, now)
}

// note remembers a decision. The lock is held.
func (c *chooser) note(e peer.EngineID, now time.Time) stamp {
	if ahead := time.Duration(int64(c.last) - now.UnixNano()); ahead > askLag {
		c.decided, c.last = map[peer.EngineID][]stamp{}, 0 // the clock was set back
	}
	c.last = max(c.last+1, stamp(now.UnixNano()))
	old, _ := slices.BinarySearch(c.decided[e], stampAt(now.Add(-openMemory)))
	c.decided[e] = append(c.decided[e][old:], c.last)
	return c.last
}

// undo takes a decision back whose session did not open.
func (c *chooser) undo(e peer.EngineID, s stamp) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, found := slices.BinarySearch(c.decided[e], s); found {
		c.decided[e] = slices.Delete(c.decided[e], i, i+1)
	}
}

// settle takes the better of the answers, or -1, and remembers the choice. Each
// answer leaves out what this door decided after its since: those decisions are
// counted on top, whether their sessions are open by now or not. A whole burst of
// users may have asked at once; without this, all would go to the engine that was
// ahead in that instant. The questions still under way count by half: those who wait
// for two other agents settle last, and would find that nothing is left to even out.
func (c *chooser) settle(s placement.Strategy, asked []placement.Candidate, answers []heard, now time.Time) (int, stamp) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range asked {
		if c.asked[a.Engine]--; c.asked[a.Engine] <= 0 {
			delete(c.asked, a.Engine)
		}
	}
	full := make([]placement.Answer, len(answers))
	for i, h := range answers {
		full[i] = h.Answer
		full[i].Load.Sessions += c.after(h.Engine, h.since) + (c.asked[h.Engine]+1)/2
		if h.OK && !h.presumed && h.since >= c.words[h.Engine].since {
			c.words[h.Engine] = word{load: h.Load, since: h.since, heard: now}
		}
	}
	best := pick(s, asked, full)
	if best < 0 {
		return -1, 0
	}
	return best, c.note(asked[best].Engine, now)
}

// after counts the decisions for e that were made after s. The lock is held.
func (c *chooser) after(e peer.EngineID, s stamp) int {
	i, _ := slices.BinarySearch(c.decided[e], s+1)
	return len(c.decided[e]) - i
}

// correct replaces the report of a candidate by the owner's last answer where that
// is newer, and adds what this door decided since. It holds for the engines beside
// this door as for all others: if the door saw those as they are now, it would
// avoid them whenever users arrive, and run to them whenever users leave.
func (c *chooser) correct(cand *placement.Candidate, reported, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.newest(*cand, reported, now)
	cand.Load, cand.Own = w.load, c.after(cand.Engine, w.since)
}

// presume takes what is known of an engine for its owner's answer.
func (c *chooser) presume(cand placement.Candidate, reported, now time.Time) heard {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.newest(cand, reported, now)
	return heard{placement.Answer{Engine: cand.Engine, OK: true, Load: w.load}, w.since, true}
}

// newest is the owner's last word, in its report or in its answer. A good answer is
// preferred to a newer report: reports come one by one, and one that was made amid a
// burst would show its engine fuller than those that have yet to report. The lock is
// held.
func (c *chooser) newest(cand placement.Candidate, reported, now time.Time) word {
	said, ok := c.words[cand.Engine]
	if ok && (now.Sub(said.heard) < wordLife || said.heard.After(reported)) {
		return said
	}
	since := stampAt(now.Add(-openMemory))
	if !reported.IsZero() {
		since = max(since, stampAt(reported))
	}
	w := word{load: cand.Load, since: since, heard: reported}
	w.load.InFlight = said.load.InFlight // a report's are those of one instant, not an average
	return w
}

// sweep forgets what is too old to correct anything.
func (c *chooser) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.words, func(_ peer.EngineID, w word) bool { return now.Sub(w.heard) >= openMemory })
	maps.DeleteFunc(c.decided, func(_ peer.EngineID, all []stamp) bool {
		return len(all) == 0 || all[len(all)-1] < stampAt(now.Add(-openMemory))
	})
}

// stampAt is the stamp of a decision made at t; 0 for times before 1970.
func stampAt(t time.Time) stamp { return stamp(max(0, t.UnixNano())) }

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

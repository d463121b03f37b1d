package door

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
)

func testChooser(t *testing.T) *chooser {
	t.Helper()
	rng, err := newRand(&seqReader{n: 3})
	if err != nil {
		t.Fatal(err)
	}
	return newChooser(rng)
}

func candidatesOf(engines ...peer.EngineID) []placement.Candidate {
	var cs []placement.Candidate
	for _, e := range engines {
		cs = append(cs, placement.Candidate{Engine: e, Weight: 100, Load: placement.Load{Permille: -1}})
	}
	return cs
}

// yes is an answer that counts own decisions up to since.
func yes(e peer.EngineID, sessions int, since stamp) heard {
	return heard{Answer: placement.Answer{Engine: e, OK: true, Load: placement.Load{Sessions: sessions, Permille: -1}}, since: since}
}

var testTime = time.Unix(1_800_000_000, 0)

func TestSettleCountsOwnDecisionsOnce(t *testing.T) {
	const a, b = peer.EngineID("a/x"), peer.EngineID("b/x")
	cs := candidatesOf(a, b)
	cases := []struct {
		name    string
		ago     []time.Duration // decisions for a
		answers []heard
		want    int
	}{
		{"none: the first of equals", nil, []heard{yes(a, 5, stampAt(testTime)), yes(b, 5, stampAt(testTime))}, 0},
		{"the fewer sessions", nil, []heard{yes(a, 6, stampAt(testTime)), yes(b, 5, stampAt(testTime))}, 1},
		{"answers come in any order", nil, []heard{yes(b, 5, stampAt(testTime)), yes(a, 6, stampAt(testTime))}, 1},
		{"later ones are added", []time.Duration{30, 20, 10}, []heard{yes(a, 5, stampAt(testTime)-25), yes(b, 6, stampAt(testTime)-25)}, 1},
		{"those that the answer holds are not", []time.Duration{30, 20, 10}, []heard{yes(a, 5, stampAt(testTime)-20), yes(b, 6, stampAt(testTime)-20)}, 0},
		{"one refuses", []time.Duration{1, 1, 1}, []heard{yes(a, 9, 0), {Answer: placement.Answer{Engine: b, Reason: placement.Full}}}, 0},
		{"one is silent", nil, []heard{yes(b, 99, 0)}, 1},
		{"both refuse", nil, []heard{{Answer: placement.Answer{Engine: a}}, {Answer: placement.Answer{Engine: b}}}, -1},
		{"both are silent", nil, nil, -1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ch := testChooser(t)
			for _, ago := range c.ago {
				ch.note(a, testTime.Add(-ago))
			}
			best, at := ch.settle(placement.LeastLoaded, cs, c.answers, testTime)
			if best != c.want {
				t.Fatalf("settled for %d, want %d", best, c.want)
			}
			if best < 0 {
				if at != 0 || ch.last != 0 && len(c.ago) == 0 {
					t.Error("a decision was noted")
				}
				return
			}
			if got := ch.decided[cs[best].Engine]; len(got) == 0 || got[len(got)-1] != at {
				t.Errorf("decisions %v, want %d at their end", got, at)
			}
		})
	}
}

// A burst of questions that one answer each has to serve is divided equally.
func TestSettleDividesABurst(t *testing.T) {
	const a, b = peer.EngineID("a/x"), peer.EngineID("b/x")
	ch, cs, got := testChooser(t), candidatesOf(a, b), map[int]int{}
	since := stampAt(testTime) - 1
	for range 30 {
		best, at := ch.settle(placement.LeastLoaded, cs, []heard{yes(a, 4, since), yes(b, 0, since)}, testTime)
		if at <= since {
			t.Fatal("two decisions share a stamp, or one is not later")
		}
		got[best]++
	}
	if got[0] != 13 || got[1] != 17 {
		t.Errorf("%v, want 13 and 17", got)
	}
}

// Whoever settles late finds what the others left: the questions under way count.
func TestSettleLeavesRoomForTheOthers(t *testing.T) {
	const a, b = peer.EngineID("a/x"), peer.EngineID("b/x")
	ch, since := testChooser(t), stampAt(testTime)-1
	ch.asked[a], ch.asked[b] = 9, 1
	got := map[int]int{}
	for range 6 {
		best, _ := ch.settle(placement.LeastLoaded, candidatesOf("c/x", "d/x"), []heard{yes("c/x", 0, since), yes("d/x", 0, since)}, testTime)
		got[best]++
		ch.asked[a], ch.asked[b] = 9, 1
		best, _ = ch.settle(placement.LeastLoaded, candidatesOf(a, b), []heard{yes(a, 0, since), yes(b, 0, since)}, testTime)
		got[10+best]++
	}
	// Of a's eight other questions four will come, so b gets the first four of six.
	if got[0] != 3 || got[1] != 3 || got[10] != 1 || got[11] != 5 {
		t.Errorf("%v", got)
	}
}

// Users of a burst are chosen for before any is settled: their questions are spread,
// and nothing is left of them afterwards.
func TestChooseSpreadsQuestions(t *testing.T) {
	ch, cs := testChooser(t), candidatesOf("a/x", "b/x", "c/x")
	asked, pairs := map[peer.EngineID]int{}, [][]placement.Candidate{}
	for range 60 {
		i, j := ch.choose(placement.LeastLoaded, cs)
		pairs = append(pairs, []placement.Candidate{cs[i], cs[j]})
		asked[cs[i].Engine]++
		asked[cs[j].Engine]++
	}
	for e, n := range asked {
		if n < 38 || n > 42 {
			t.Errorf("%s is asked %d times, want 40", e, n)
		}
	}
	if diff := cmp.Diff(asked, ch.asked); diff != "" {
		t.Errorf("questions under way (-want +got):\n%s", diff)
	}
	for _, p := range pairs {
		ch.settle(placement.LeastLoaded, p, nil, testTime)
	}
	if len(ch.asked) != 0 {
		t.Errorf("left: %v", ch.asked)
	}
}

func TestNewestWord(t *testing.T) {
	const e = peer.EngineID("a/x")
	ago := func(d time.Duration) time.Time { return testTime.Add(-d) }
	cases := []struct {
		name      string
		reported  time.Time
		answered  time.Time // zero: never
		decisions []time.Duration
		sessions  int // 10 is the report's, 20 the answer's
		own       int
	}{
		{"a report", ago(time.Second), time.Time{}, []time.Duration{3 * time.Second, time.Second, time.Millisecond}, 10, 1},
		{"no report", time.Time{}, time.Time{}, []time.Duration{2 * openMemory, time.Second, time.Millisecond}, 10, 2},
		{"an answer after the report", ago(2 * time.Second), ago(time.Second), []time.Duration{1500 * time.Millisecond, time.Second, time.Millisecond}, 20, 2},
		{"a report after the answer", ago(time.Second), ago(2 * time.Second), []time.Duration{1500 * time.Millisecond, time.Millisecond}, 10, 1},
		{"a report just after a good answer", ago(0), ago(wordLife - 1), []time.Duration{2 * wordLife, wordLife / 2, time.Millisecond}, 20, 2},
		{"a report after an answer that is not good any more", ago(0), ago(wordLife), []time.Duration{wordLife / 2, time.Millisecond}, 10, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ch := testChooser(t)
			for _, d := range c.decisions {
				ch.note(e, ago(d))
			}
			if !c.answered.IsZero() {
				h := yes(e, 20, stampAt(c.answered.Add(-askLag)))
				h.Load.InFlight = 3
				ch.words[e] = word{load: h.Load, since: h.since, heard: c.answered}
			}
			cand := placement.Candidate{Engine: e, Load: placement.Load{Sessions: 10, InFlight: 7}}
			p := ch.presume(cand, c.reported, testTime)
			if !p.OK || !p.presumed || p.Load.Sessions != c.sessions {
				t.Errorf("presumed %+v", p)
			}
			ch.correct(&cand, c.reported, testTime)
			inFlight := 0 // of the instant of a report, which says nothing
			if !c.answered.IsZero() {
				inFlight = 3
			}
			if cand.Load.Sessions != c.sessions || cand.Own != c.own || cand.Load.InFlight != inFlight {
				t.Errorf("%d sessions and %d own, %d in flight, want %d and %d, %d", cand.Load.Sessions, cand.Own, cand.Load.InFlight, c.sessions, c.own, inFlight)
			}
			// What is presumed is corrected by the same decisions.
			if best, _ := ch.settle(placement.Sessions, candidatesOf(e, "b/x"), []heard{p, yes("b/x", c.sessions+c.own, stampAt(testTime))}, testTime); best != 0 {
				t.Error("presumed to have more")
			}
			ch = testChooser(t)
			for _, d := range c.decisions {
				ch.note(e, ago(d))
			}
			if c.own > 0 {
				if best, _ := ch.settle(placement.Sessions, candidatesOf(e, "b/x"), []heard{p, yes("b/x", c.sessions+c.own-1, stampAt(testTime))}, testTime); best != 1 {
					t.Error("presumed to have fewer")
				}
			}
		})
	}
}

func TestWordsAreKeptInOrder(t *testing.T) {
	const e = peer.EngineID("a/x")
	ch := testChooser(t)
	settle := func(h heard) { ch.settle(placement.LeastLoaded, candidatesOf(e), []heard{h}, testTime) }
	ch.note(e, testTime) // counted on top, but not in what the owner said
	settle(yes(e, 5, 100))
	settle(yes(e, 4, 90)) // asked before, answered later
	settle(heard{Answer: placement.Answer{Engine: e, Reason: placement.Full}, since: 200})
	p := yes(e, 1, 300)
	p.presumed = true
	settle(p)
	if w := ch.words[e]; w.load.Sessions != 5 || w.since != 100 || w.heard != testTime {
		t.Errorf("%+v", w)
	}
	ch.sweep(testTime.Add(openMemory - 1))
	if len(ch.words) != 1 || len(ch.decided) != 1 {
		t.Error("forgotten too early")
	}
	ch.sweep(testTime.Add(2 * openMemory))
	if len(ch.words)+len(ch.decided) != 0 {
		t.Errorf("kept for ever: %v, %v", ch.words, ch.decided)
	}
}

func TestDecisions(t *testing.T) {
	const e = peer.EngineID("a/x")
	ch := testChooser(t)
	var all []stamp
	for range 3 {
		all = append(all, ch.note(e, testTime))
	}
	if !slices.IsSorted(all) || all[0] == all[1] || all[1] == all[2] {
		t.Errorf("stamps %v", all)
	}
	ch.undo(e, all[1])
	ch.undo(e, all[1])
	ch.undo("b/x", all[0])
	if got := ch.after(e, 0); got != 2 {
		t.Errorf("%d decisions after one was taken back, want 2", got)
	}
	ch.note(e, testTime.Add(openMemory+time.Second))
	if got := ch.after(e, 0); got != 1 {
		t.Errorf("%d decisions, old ones are kept for ever", got)
	}
	s := ch.note(e, testTime) // the clock was set back
	if got := ch.after(e, 0); got != 1 || s != stampAt(testTime) {
		t.Errorf("%d decisions after the clock was set back, the last at %d", got, s)
	}
	if i, at := ch.guess(placement.LeastLoaded, candidatesOf(e), testTime); i != 0 || ch.decided[e][1] != at {
		t.Errorf("guess %d at %d is not noted", i, at)
	}
	if i, at := ch.guess(placement.LeastLoaded, nil, testTime); i != -1 || at != 0 {
		t.Errorf("guess of none: %d at %d", i, at)
	}
}

// What an owner answers: sessions as they were a moment ago, and of the asking door
// those that it does not count itself.
func TestSettledSessions(t *testing.T) {
	e := &ownedEngine{Engine: &stubEngine{}, reserved: map[SessionID]int64{}, held: map[string]*held{}}
	tb := newTable()
	const sec = int64(time.Second)
	lag := int64(askLag)
	open := func(id byte, door peer.ID, decided stamp, at int64) {
		tb.leave(tb.open(&row{id: SessionID{id}, engine: e, door: door, decided: decided}, at), at)
	}
	open(1, "a", 1000, 1*sec)
	open(2, "b", 77, 99*sec)
	open(3, "a", 2000, 100*sec+lag/2)
	open(4, "a", 3000, 100*sec+lag/2)
	open(5, "b", 0, 100*sec+lag/2)
	open(6, "", 0, 100*sec+lag/2) // of a client's key
	cases := []struct {
		name  string
		door  peer.ID
		since stamp
		at    int64
		want  int
	}{
		{"another door, at once", "c", 0, 100*sec + lag/2, 2},
		{"another door, a row is just as old as it must be", "c", 0, 100*sec + lag + lag/2 - 1, 2},
		{"another door, later", "c", 0, 100*sec + lag + lag/2, 6},
		{"the door that decided, before", "a", 1999, 100*sec + lag/2, 2},
		{"the door that decided, between", "a", 2000, 100*sec + lag/2, 3},
		{"the door that decided, after", "a", 3000, 100*sec + lag/2, 4},
		{"the door that decided, of a slow answer", "a", 1999, 100*sec + 2*lag, 4},
		{"stamps of other doors mean nothing", "b", 2500, 100*sec + lag/2, 2},
		{"the clock of the owner was read before another one's", "c", 0, 100*sec + lag/4, 2},
	}
	for _, c := range cases {
		if got := e.settled(c.door, c.since, c.at); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	tb.end(SessionID{4}, 100*sec+lag/2)
	if got := e.settled("a", 1999, 100*sec+lag/2); got != 2 {
		t.Errorf("after one of them ended: %d, want 2", got)
	}
	if got := e.settled("a", 0, 100*sec+lag/2+int64(freshLife)); got != 5 || len(e.fresh) != 0 {
		t.Errorf("long after: %d, want 5; %d are fresh for ever", got, len(e.fresh))
	}
	open(7, "a", 4000, 500*sec)
	if got := e.settled("c", 0, 100*sec); got != 6 {
		t.Errorf("after the clock was set back: %d, want 6", got)
	}
}

func TestWorkIsAveraged(t *testing.T) {
	var w work
	at := func(d time.Duration) int64 { return testTime.Add(d).UnixNano() }
	if w.now() != 0 || w.average(at(0)) != 0 {
		t.Fatal("not idle at first")
	}
	w.add(40, at(0))
	if n := w.average(at(100 * time.Millisecond)); n != 0 || w.now() != 40 {
		t.Errorf("a burst's first requests count for %d", n)
	}
	if n := w.average(at(workMemory)); n != 25 { // 1 - 1/e of 40
		t.Errorf("%d after 10 s, want 25", n)
	}
	if n := w.average(at(time.Minute)); n != 40 {
		t.Errorf("%d in the end, want 40", n)
	}
	if n := w.average(at(0)); n != 40 {
		t.Errorf("%d after the clock was set back", n)
	}
	w.add(-40, at(time.Minute))
	if n := w.average(at(2 * time.Minute)); n != 0 {
		t.Errorf("%d after a minute of rest", n)
	}
	w.add(40, at(3*time.Minute))
	w.add(-40, at(3*time.Minute+workMemory))
	if n := w.average(at(3*time.Minute + workMemory)); n != 25 {
		t.Errorf("%d just after 10 s of work, want 25", n)
	}
}

package history

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// world is a register that is right, and the history of clients who use it.
type world struct {
	rng    *rand.Rand
	now    int
	rev    uint64
	value  string
	at     uint64 // revision of the row
	unique int
	ops    []Op
	late   []Op // of unknown outcome, and perhaps still to happen
}

// random makes a history that has every kind of operation and can be explained.
func random(seed uint64, n int) []Op {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1))}
	w.put(w.next(), 0)
	w.ops = append(w.ops, wrote(w.value, w.at).at(w.now, w.now+1))
	w.now += 2
	for range n {
		w.step()
	}
	return w.ops
}

func (w *world) next() string { w.unique++; return fmt.Sprintf("v%d", w.unique) }

func (w *world) put(v string, expected uint64) bool {
	if expected != 0 && expected != w.at {
		return false
	}
	w.rev += 1 + w.rng.Uint64N(3)
	w.value, w.at = v, w.rev
	return true
}

// step makes one operation happen at a moment within its interval. Intervals overlap,
// because they reach to both sides.
func (w *world) step() {
	w.now += w.rng.IntN(3)
	around := func(o Op) Op {
		o.Client = w.rng.IntN(8)
		from := max(w.now-w.rng.IntN(12), 2)
		if o.Expected != 0 {
			from = w.now // it was read just before
		}
		return o.at(from, w.now+w.rng.IntN(12))
	}
	if len(w.late) > 0 && w.rng.IntN(8) == 0 { // one whose outcome nobody knows happens now
		w.put(w.late[0].Value, w.late[0].Expected)
		w.late = w.late[1:]
		return
	}
	expected := uint64(0)
	if w.rng.IntN(2) == 0 {
		expected = w.at
		w.ops = append(w.ops, saw(w.value, w.at).by(8).at(w.now-1, w.now))
		w.now++
	}
	switch w.rng.IntN(10) {
	case 0, 1, 2, 3:
		w.ops = append(w.ops, around(saw(w.value, w.at)))
	case 4:
		o := around(swapped(w.next(), expected, 0).how(Unknown, ""))
		if o.Expected == 0 {
			o.Kind = Write
		}
		w.ops = append(w.ops, o)
		if w.rng.IntN(3) > 0 {
			w.late = append(w.late, o)
		}
	case 5: // the answer shows the row that came after
		v, later := w.next(), w.next()
		w.put(v, expected)
		w.put(later, 0)
		o, p := overtaken(v, w.at), wrote(later, w.at)
		if expected != 0 {
			o.Kind, o.Expected = CompareAndSet, expected
		}
		w.ops = append(w.ops, around(o), around(p))
	case 6:
		if w.put(w.next(), 0); expected != 0 {
			w.ops = append(w.ops, around(swapped(w.next(), expected, 0).how(Refused, Precondition)))
		}
		w.ops = append(w.ops, around(wrote(w.value, w.at)))
	default:
		w.put(w.next(), expected)
		o := wrote(w.value, w.at)
		if expected != 0 {
			o = swapped(w.value, expected, w.at)
		}
		w.ops = append(w.ops, around(o))
	}
}

// A correct register is never accused, however the history is cut, and the parts say the
// same as the whole.
func TestCorrectRegister(t *testing.T) {
	for seed := range uint64(60) {
		ops := random(seed, 300)
		e := newEvidence(ops, Input{})
		if v := e.linearizability(); v.Violations != 0 || v.Checked < 200 {
			t.Fatalf("seed %d: %+v", seed, v)
		}
		if v := e.refusals(); v.Violations != 0 {
			t.Fatalf("seed %d: %+v", seed, v)
		}
		for _, most := range []int{1, 7, 1000} {
			if !linearizable(e.registers[0], most) {
				t.Fatalf("seed %d, parts of %d: not linearizable", seed, most)
			}
		}
	}
}

// linearizable checks one register in parts.
func linearizable(g *register, most int) bool {
	parts := g.segments(most)
	if across(parts) != "" {
		return false
	}
	from := state{any: true}
	for _, p := range parts {
		if porcupine.CheckOperationsTimeout(registerModel(from), operations(p), 10*time.Second) != porcupine.Ok {
			return false
		}
		from = after(from, p)
	}
	return true
}

// Wherever a history is cut, the verdict is that of the whole: also when it is a bad one.
func TestPartsAgreeWithTheWhole(t *testing.T) {
	bad := 0
	for seed := range uint64(400) {
		ops := random(seed, 40)
		rng := rand.New(rand.NewPCG(seed, 2))
		o := &ops[rng.IntN(len(ops))]
		shift := time.Duration(rng.IntN(60)-30) * ms
		o.Begin, o.End = max(o.Begin+shift, 0), max(o.End+shift, 0)
		g := newEvidence(ops, Input{}).registers[0]
		whole := linearizable(g, 1<<20)
		if !whole {
			bad++
		}
		for _, most := range []int{1, 3, 10} {
			if got := linearizable(g, most); got != whole {
				t.Fatalf("seed %d, parts of %d: %v, the whole: %v", seed, most, got, whole)
			}
		}
	}
	if bad < 50 || bad > 350 {
		t.Errorf("%d of 400 histories are bad: too few of one sort", bad)
	}
}

// What porcupine could not decide in time is a violation.
func TestUndecided(t *testing.T) {
	g := newEvidence(random(1, 20), Input{}).registers[0]
	from := state{any: true}
	for _, result := range []porcupine.CheckResult{porcupine.Unknown, porcupine.Illegal} {
		if why := whyNot(result, g.key, from, g.ranked); why == "" {
			t.Errorf("%s is no violation", result)
		}
	}
	if why := whyNot(porcupine.Ok, g.key, from, g.ranked); why != "" {
		t.Error(why)
	}
}

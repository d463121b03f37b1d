package placement

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
)

// update is read by golden only.
var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func seeded() *rand.Rand { return rand.New(rand.NewPCG(7, 7)) }

func good(id string) Candidate {
	return Candidate{
		Engine: peer.EngineID(id), NodeName: "node-" + id[:1], Weight: 100, State: peer.StateActive,
		Status: peer.StatusAlive, Health: peer.Healthy, Load: Load{Permille: -1},
	}
}

func TestEligible(t *testing.T) {
	cases := []struct {
		name   string
		change func(*Candidate)
		req    Request
		want   Reason
	}{
		{"good", func(*Candidate) {}, Request{}, ""},
		{"draining", func(c *Candidate) { c.State = peer.StateDraining }, Request{}, NodeDraining},
		{"standby", func(c *Candidate) { c.State = peer.StateStandby }, Request{}, NodeStandby},
		{"state of a later version", func(c *Candidate) { c.State = "resting" }, Request{}, NodeUnknown},
		{"suspect", func(c *Candidate) { c.Status = peer.StatusSuspect }, Request{}, NodeSuspect},
		{"failed", func(c *Candidate) { c.Status = peer.StatusFailed }, Request{}, NodeLost},
		{"never seen", func(c *Candidate) { c.Status = peer.StatusUnknown }, Request{}, NodeLost},
		{"unhealthy", func(c *Candidate) { c.Health = peer.Unhealthy }, Request{}, Unhealthy},
		{"dead", func(c *Candidate) { c.Health = peer.Dead }, Request{}, Dead},
		{"no health yet", func(c *Candidate) { c.Health = "" }, Request{}, Unhealthy},
		{"tried", func(*Candidate) {}, Request{Exclude: []peer.EngineID{"a/x"}}, Excluded},
		{"tag there", func(c *Candidate) { c.Tags = []string{"big", "gpu"} }, Request{Tag: "gpu"}, ""},
		{"tag missing", func(c *Candidate) { c.Tags = []string{"big"} }, Request{Tag: "gpu"}, TagMissing},
		{"room for one", func(c *Candidate) { c.MaxSessions, c.Load.Sessions, c.Own = 10, 8, 1 }, Request{}, ""},
		{"full by what this door opened", func(c *Candidate) { c.MaxSessions, c.Load.Sessions, c.Own = 10, 8, 2 }, Request{}, Full},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := good("a/x")
			c.change(&e)
			ok, got := Eligible(e, c.req)
			if got != c.want || ok != (c.want == "") {
				t.Errorf("Eligible = %v, %q, want %q", ok, got, c.want)
			}
			if n := len(Filter([]Candidate{e}, c.req)); (n == 1) != ok {
				t.Errorf("Filter kept %d, Eligible says %v", n, ok)
			}
		})
	}
}

func TestChooseSmall(t *testing.T) {
	for _, s := range []Strategy{LeastLoaded, Random, RoundRobin, Sessions} {
		var st State
		if a, b := Choose(s, nil, seeded(), &st); a != -1 || b != -1 {
			t.Errorf("%s of none = %d, %d", s, a, b)
		}
		if a, b := Choose(s, []Candidate{good("a/x")}, seeded(), &st); a != 0 || b != -1 {
			t.Errorf("%s of one = %d, %d", s, a, b)
		}
		a, b := Choose(s, []Candidate{good("a/x"), good("b/x")}, seeded(), &st)
		if a == b || a < 0 || b < 0 || a > 1 || b > 1 {
			t.Errorf("%s of two = %d, %d", s, a, b)
		}
	}
	if got := PowerOfTwo(LeastLoaded, nil, seeded()); got != -1 {
		t.Errorf("power of two of none = %d", got)
	}
}

// A ranking of two: which of b and a is first, whatever the order drawn.
func TestRanking(t *testing.T) {
	cases := []struct {
		name     string
		strategy Strategy
		a, b     func(*Candidate) // a must be first
	}{
		{"fewer sessions", LeastLoaded, func(c *Candidate) { c.Load.Sessions = 3 }, func(c *Candidate) { c.Load.Sessions = 4 }},
		{"own count corrects the report", LeastLoaded, func(c *Candidate) { c.Load.Sessions = 4 }, func(c *Candidate) { c.Load.Sessions, c.Own = 3, 2 }},
		{"weight", LeastLoaded, func(c *Candidate) { c.Load.Sessions, c.Weight = 15, 200 }, func(c *Candidate) { c.Load.Sessions = 9 }},
		{"spare CPU", LeastLoaded, func(c *Candidate) { c.Load.Sessions = 12 }, func(c *Candidate) { c.Load.Sessions, c.Load.CPUPermille = 10, 900 }},
		{"the engine's own word", LeastLoaded, func(c *Candidate) { c.Load.Sessions = 12 }, func(c *Candidate) { c.Load.Sessions, c.Load.Permille = 10, 900 }},
		{"scarce memory", LeastLoaded, func(c *Candidate) { c.Load.Sessions = 12 }, func(c *Candidate) {
			c.Load.Sessions, c.Load.MemFreeBytes, c.Load.MemTotalBytes = 10, 5<<30, 100<<30
		}},
		{"memory in plenty does not count", LeastLoaded, func(c *Candidate) {
			c.Load.Sessions, c.Load.MemFreeBytes, c.Load.MemTotalBytes = 10, 30<<30, 100<<30
		}, func(c *Candidate) { c.Load.Sessions = 11 }},
		{"requests being answered", LeastLoaded, func(c *Candidate) { c.Load.Sessions = 5 }, func(c *Candidate) { c.Load.Sessions, c.Load.InFlight = 4, 3 }},
		{"sessions only", Sessions, func(c *Candidate) { c.Load.Sessions, c.Load.CPUPermille = 3, 990 }, func(c *Candidate) { c.Load.Sessions = 4 }},
		{"equal: the holder of the document", LeastLoaded, func(c *Candidate) { c.HoldsDocument = true }, func(*Candidate) {}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a, b := good("a/x"), good("b/x")
			c.a(&a)
			c.b(&b)
			rng := seeded()
			for range 20 {
				if first, _ := Choose(c.strategy, []Candidate{a, b}, rng, nil); first != 0 {
					t.Fatalf("%+v was preferred to %+v", b, a)
				}
				if first, _ := Choose(c.strategy, []Candidate{b, a}, rng, nil); first != 1 {
					t.Fatalf("%+v was preferred to %+v", b, a)
				}
				if got := PowerOfTwo(c.strategy, []Candidate{b, a}, rng); got != 1 {
					t.Fatalf("power of two preferred %+v to %+v", b, a)
				}
			}
		})
	}
}

func TestBetter(t *testing.T) {
	yes := func(sessions int) Answer {
		return Answer{OK: true, Weight: 100, Load: Load{Sessions: sessions, Permille: -1}}
	}
	no := Answer{Reason: Full}
	cases := []struct {
		name string
		s    Strategy
		a, b Answer
		want bool
	}{
		{"less", LeastLoaded, yes(4), yes(3), true},
		{"equal keeps the first", LeastLoaded, yes(3), yes(3), false},
		{"more", LeastLoaded, yes(3), yes(4), false},
		{"first refuses", LeastLoaded, no, yes(900), true},
		{"second refuses", LeastLoaded, yes(900), no, false},
		{"both refuse", LeastLoaded, no, no, false},
		{"a turn is kept", RoundRobin, yes(4), yes(3), false},
		{"a turn is lost by refusing", RoundRobin, no, yes(3), true},
		{"chance is kept", Random, yes(4), yes(3), false},
		{"by sessions", Sessions, yes(4), yes(3), true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := Better(c.s, c.a, c.b); got != c.want {
				t.Errorf("Better = %v, want %v", got, c.want)
			}
		})
	}
}

func TestRoundRobinIsSmooth(t *testing.T) {
	cs := []Candidate{good("a/x"), good("b/x"), good("c/x")}
	cs[0].Weight = 300
	var st State
	var got string
	for range 10 {
		first, _ := Choose(RoundRobin, cs, nil, &st)
		got += string(cs[first].Engine.Node())
	}
	if want := "abacaabaca"; got != want {
		t.Errorf("turns are %s, want %s", got, want)
	}
}

func TestSampleDrawsDistinct(t *testing.T) {
	cs := make([]Candidate, 9)
	rng := seeded()
	seen := map[int]int{}
	for range 2000 {
		drawn := sample(cs, sampleSize, rng)
		mine := map[int]bool{}
		for _, i := range drawn {
			mine[i] = true
			seen[i]++
		}
		if len(mine) != sampleSize {
			t.Fatalf("drew %v", drawn)
		}
	}
	for i := range cs {
		if seen[i] < 1000 || seen[i] > 1222 { // 1111 expected
			t.Errorf("index %d was drawn %d times of 2000 samples of 5 of 9", i, seen[i])
		}
	}
}

func TestExplain(t *testing.T) {
	cs := []Candidate{good("c/x"), good("b/x"), good("a/x"), good("d/x"), good("e/y")}
	cs[0].Load.Sessions = 12
	cs[1].Load.Sessions, cs[1].Own, cs[1].Load.CPUPermille = 4, 1, 615
	cs[2].Health = peer.Dead
	cs[3].State = peer.StateDraining
	cs[4].Load.Sessions, cs[4].Weight = 12, 400
	var b bytes.Buffer
	if err := WriteLines(&b, Explain(LeastLoaded, cs, Request{})); err != nil {
		t.Fatal(err)
	}
	golden(t, "explain.txt", b.Bytes())
}

func TestPromote(t *testing.T) {
	a, b, c := good("a/x"), good("b/x"), good("c/x")
	if got := Promote([]Candidate{a, b}); got != "" {
		t.Errorf("promoted %s, though none is standby", got)
	}
	a.State, b.State, c.State = peer.StateStandby, peer.StateStandby, peer.StateStandby
	a.Health, b.Priority, c.Priority = peer.Dead, 2, 1
	if got := Promote([]Candidate{a, b, c}); got != "c" {
		t.Errorf("promoted %s, want c", got)
	}
	b.Priority = 1
	if got := Promote([]Candidate{c, b}); got != "b" {
		t.Errorf("promoted %s, want b", got)
	}
}

func TestParseStrategy(t *testing.T) {
	if s, err := ParseStrategy(""); s != LeastLoaded || err != nil {
		t.Errorf("default = %q, %v", s, err)
	}
	if _, err := ParseStrategy("lowest"); err == nil {
		t.Error("an unknown strategy was accepted")
	}
}

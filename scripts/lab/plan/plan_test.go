package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSameSeedSamePlan(t *testing.T) {
	for _, size := range Sizes() {
		a, err := Make(7, size, Kinds(), 2, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := Make(7, size, Kinds(), 2, 0, false)
		if d := cmp.Diff(a, b); d != "" {
			t.Errorf("%s: the same seed gave another plan:\n%s", size.Name, d)
		}
		c, _ := Make(8, size, Kinds(), 2, 0, false)
		if cmp.Equal(a.Steps, c.Steps) {
			t.Errorf("%s: another seed gave the same plan", size.Name)
		}
	}
}

// TestBounds holds every plan to what its kinds and its size allow.
func TestBounds(t *testing.T) {
	for _, size := range Sizes() {
		pairs := 0
		for seed := range uint64(300) {
			run, err := Make(seed, size, Kinds(), int(seed), 0, false)
			if err != nil {
				t.Fatal(err)
			}
			if len(run.Steps) != size.Steps {
				t.Fatalf("%s, seed %d: %d steps", size.Name, seed, len(run.Steps))
			}
			for _, s := range run.Steps {
				if len(s.Uses) == 2 {
					pairs++
				}
				checkStep(t, size, run, s)
			}
		}
		if (pairs > 0) != (size.Pairs > 0) {
			t.Errorf("%s: %d pairs", size.Name, pairs)
		}
	}
}

func checkStep(t *testing.T, size Size, run Run, s Step) {
	t.Helper()
	if s.Rest < 0 || s.Rest > size.Rest {
		t.Errorf("%s, seed %d: a rest of %s", size.Name, run.Seed, s.Rest)
	}
	for i, u := range s.Uses {
		k, ok := KindOf(u.Fault)
		switch {
		case !ok:
			t.Errorf("%s, seed %d: there is no fault %s", size.Name, run.Seed, u.Fault)
		case u.Length < k.Min || u.Length > max(k.Min, min(k.Max, size.Longest)):
			t.Errorf("%s, seed %d: %s lasts %s", size.Name, run.Seed, u.Fault, u.Length)
		case k.Alone && len(s.Uses) > 1:
			t.Errorf("%s, seed %d: %s is not alone", size.Name, run.Seed, u.Fault)
		case k.Disks && !run.Disks:
			t.Errorf("%s, seed %d: %s needs disks", size.Name, run.Seed, u.Fault)
		case k.Long && !size.Long:
			t.Errorf("%s, seed %d: %s takes too long", size.Name, run.Seed, u.Fault)
		case i == 1 && u.After > s.Uses[0].Length:
			t.Errorf("%s, seed %d: the second fault begins after the first", size.Name, run.Seed)
		}
	}
}

// TestEachComesBeforeAnyComesTwice: a run with as many steps as there are kinds has
// them all.
func TestEachComesBeforeAnyComesTwice(t *testing.T) {
	size := Size{Name: "all", Nodes: []int{3}, Steps: len(Kinds()), Long: true, Longest: time.Second}
	run, err := Make(3, size, Kinds(), 0, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range run.Steps {
		seen[s.Uses[0].Fault] = true
	}
	if len(seen) != len(Kinds()) {
		t.Errorf("%d of %d kinds", len(seen), len(Kinds()))
	}
}

func TestChosenFaultsAreNotFiltered(t *testing.T) {
	size, _ := SizeOf("smoke")
	k, _ := KindOf("membership")
	run, err := Make(1, size, []Kind{k}, 0, 5, true)
	if err != nil || run.Steps[0].Uses[0].Fault != "membership" || run.Nodes != 5 {
		t.Errorf("%+v, %v", run, err)
	}
	if _, err := Make(1, size, []Kind{k}, 0, 5, false); err == nil {
		t.Error("the smallest size has it, although it takes long")
	}
}

func TestLeast(t *testing.T) {
	run := Run{Steps: []Step{{Uses: []Use{{Length: 2 * time.Second}, {After: time.Second, Length: 3 * time.Second}}, Rest: time.Second}}}
	if got := run.Least(); got != 50 {
		t.Errorf("%d, want ten for each of 5 seconds", got)
	}
}

// TestSmokeHasItsFaults: names in the short list that no kind has would go unnoticed.
func TestSmokeHasItsFaults(t *testing.T) {
	size, _ := SizeOf("smoke")
	if got := len(sized(size, Kinds())); got != len(smoke()) || size.Steps < len(smoke()) {
		t.Errorf("%d of %d, in %d steps", got, len(smoke()), size.Steps)
	}
}

// Package plan decides what happens in a run of the laboratory: which faults, on whom,
// when and for how long. It is pure: the same seed and size give the same plan, on every
// machine.
package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Role says on whom a fault falls; who that is turns out when it happens.
type Role string

// Roles.
const (
	Leader   Role = "leader"
	Follower Role = "follower"
	Anybody  Role = "anybody"
	All      Role = "all" // or the fault chooses itself
)

// Kind is a fault as the plan knows it. The name is the one of package fault.
type Kind struct {
	Name  string
	About string
	Roles []Role // one is drawn
	// The fault lasts for a time between these; zero: as long as it takes.
	Min, Max time.Duration
	Alone    bool // nothing else happens meanwhile
	Disks    bool // needs file systems of the nodes' own
	Long     bool // takes over ten seconds as a rule: not in the smallest size
}

// Use is one fault that happens.
type Use struct {
	Fault  string        `json:"fault"`
	Role   Role          `json:"role"`
	Pick   uint64        `json:"pick"` // seeds what else has to be drawn
	After  time.Duration `json:"after"`
	Length time.Duration `json:"length"`
}

// String is short, for people.
func (u Use) String() string {
	s := u.Fault
	if u.Role != All {
		s += " " + string(u.Role)
	}
	if u.Length > 0 {
		s += " " + u.Length.Round(100*time.Millisecond).String()
	}
	return s
}

// Step is what happens between two times at which everything is well: one fault, or two
// of which the second begins while the first lasts.
type Step struct {
	Uses []Use         `json:"uses"`
	Rest time.Duration `json:"rest"` // after the healing
}

// Run is one cluster's life.
type Run struct {
	Seed  uint64 `json:"seed"`
	Nodes int    `json:"nodes"`
	Disks bool   `json:"disks"`
	Steps []Step `json:"steps"`
}

// Size is how much there is to do.
type Size struct {
	Name  string
	Runs  int
	Nodes []int // of the runs, in turn
	Steps int   // of a run
	Pairs int   // of a hundred steps, so many have two faults
	Long  bool  // with the faults that take long
	// Faults that last between their least and their greatest time last at most this.
	Longest  time.Duration
	Rest     time.Duration // between two steps, at most
	Sessions int
}

// Sizes, the smallest first.
func Sizes() []Size {
	return []Size{
		{Name: "smoke", Runs: 1, Nodes: []int{3}, Steps: 8, Longest: 1500 * time.Millisecond, Rest: 500 * time.Millisecond, Sessions: 60},
		{Name: "nightly", Runs: 12, Nodes: []int{3, 3, 5}, Steps: 10, Pairs: 30, Long: true, Longest: 12 * time.Second, Rest: 2 * time.Second, Sessions: 2000},
		{Name: "release", Runs: 60, Nodes: []int{3, 5}, Steps: 20, Pairs: 40, Long: true, Longest: time.Minute, Rest: 3 * time.Second, Sessions: 2000},
	}
}

// SizeOf finds a size by name.
func SizeOf(name string) (Size, bool) {
	all := Sizes()
	i := slices.IndexFunc(all, func(s Size) bool { return s.Name == name })
	if i < 0 {
		return Size{}, false
	}
	return all[i], true
}

// smoke is what the smallest size does: each kind of loss once, quickly.
func smoke() []string {
	return []string{"kill", "isolate", "pause", "power-cut", "one-way", "clock", "delay", "kill-all"}
}

// Make draws a run. kinds are those that may be drawn; each comes before any comes a
// second time. run is the number in a series, from 0; nodes 0 is what the size has for it.
// If somebody chose the kinds, the size does not take any away.
func Make(seed uint64, size Size, kinds []Kind, run, nodes int, chosen bool) (Run, error) {
	if !chosen {
		kinds = sized(size, kinds)
	}
	if len(kinds) == 0 {
		return Run{}, fmt.Errorf("no fault is left that the size %s has", size.Name)
	}
	if nodes == 0 {
		nodes = size.Nodes[run%len(size.Nodes)]
	}
	r := rand.New(rand.NewPCG(seed, 0x6c6162))
	out := Run{Seed: seed, Nodes: nodes}
	order := r.Perm(len(kinds))
	for i := range size.Steps {
		k := kinds[order[i%len(order)]]
		step := Step{Uses: []Use{use(r, k, size, 0)}, Rest: upTo(r, size.Rest)}
		if second, ok := partner(r, k, kinds); ok && r.IntN(100) < size.Pairs {
			first := step.Uses[0]
			step.Uses = append(step.Uses, use(r, second, size, first.Length/4+upTo(r, first.Length/2)))
			out.Disks = out.Disks || second.Disks
		}
		out.Disks = out.Disks || k.Disks
		out.Steps = append(out.Steps, step)
	}
	return out, nil
}

// sized are the kinds that a size has.
func sized(size Size, kinds []Kind) []Kind {
	var out []Kind
	for _, k := range kinds {
		if size.Name == "smoke" && !slices.Contains(smoke(), k.Name) || k.Long && !size.Long {
			continue
		}
		out = append(out, k)
	}
	return out
}

func use(r *rand.Rand, k Kind, size Size, after time.Duration) Use {
	u := Use{Fault: k.Name, Role: k.Roles[r.IntN(len(k.Roles))], Pick: r.Uint64(), After: after}
	if most := max(min(k.Max, size.Longest), k.Min); most > 0 {
		// Short ones are as interesting as long ones: the square makes them more frequent.
		f := r.Float64()
		u.Length = (k.Min + time.Duration(f*f*float64(most-k.Min))).Round(10 * time.Millisecond)
	}
	return u
}

// partner draws a fault that can happen during k.
func partner(r *rand.Rand, k Kind, kinds []Kind) (Kind, bool) {
	var can []Kind
	for _, o := range kinds {
		if !o.Alone && o.Name != k.Name {
			can = append(can, o)
		}
	}
	if k.Alone || k.Max == 0 || len(can) == 0 {
		return Kind{}, false
	}
	return can[r.IntN(len(can))], true
}

func upTo(r *rand.Rand, d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(r.Int64N(int64(d))).Round(10 * time.Millisecond)
}

// Least is how many operations a run has to have had acknowledged, of all kinds
// together: fewer would say that it has shown nothing. It counts ten a second of the time
// that the plan lasts, which is a fraction of what the clients do.
func (r Run) Least() int {
	var lasts time.Duration
	for _, s := range r.Steps {
		longest := time.Second
		for _, u := range s.Uses {
			longest = max(longest, u.After+u.Length)
		}
		lasts += longest + s.Rest
	}
	return int(10 * lasts.Seconds())
}

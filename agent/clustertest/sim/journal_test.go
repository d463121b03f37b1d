package sim

import (
	"flag"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	oneSeed  = flag.Uint64("sim.seed", 0, "run this seed alone and print what happened")
	fromSeed = flag.Uint64("sim.from", 1, "the first seed")
	numSeeds = flag.Int("sim.seeds", 0, "how many seeds; 0: as many as are quick")
	lasting  = flag.Duration("sim.for", 0, "time of the faults, in the clock of the cluster; 0: what is quick")
	repeats  = flag.Int("sim.repeat", 1, "run each seed this often")
	withLogs = flag.Bool("sim.log", false, "print the nodes' log lines, too")
	lazy     = flag.Bool("sim.lazy", false, "disks lie about what they have written: the simulation must fail")
)

// seeds calls f for each seed that is asked for, as a test of its own.
func seeds(t *testing.T, quick int, f func(t *testing.T, seed uint64)) {
	from, n := *fromSeed, *numSeeds
	if n == 0 {
		n = quick
	}
	if *oneSeed != 0 {
		from, n = *oneSeed, 1
	}
	for seed := from; seed < from+uint64(n); seed++ {
		for k := range *repeats {
			name := fmt.Sprintf("seed=%d", seed)
			if *repeats > 1 {
				name = fmt.Sprintf("%s/%d", name, k)
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { f(t, seed) })
			})
		}
	}
}

func forTime(quick time.Duration) time.Duration {
	if *lasting > 0 {
		return *lasting
	}
	return quick
}

// journal is what happened in a run. Safe for concurrent use.
type journal struct {
	test  *testing.T
	seed  uint64
	what  string // raft or cluster
	began time.Time

	mu     sync.Mutex
	faults int
	trace  []string
	struck map[string]int
}

func newJournal(t *testing.T, seed uint64, what string) *journal {
	return &journal{test: t, seed: seed, what: what, began: time.Now(), struck: map[string]int{}}
}

// begin is when the plan begins.
func (j *journal) begin() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.began = time.Now()
}

// Of the faults of one run that many are told: the first is the one that matters.
const mostFaults = 10

// fail reports what must not be.
func (j *journal) fail(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	j.log("WRONG: %s", what)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.faults++; j.faults <= mostFaults {
		j.test.Errorf("seed %d, at %v: %s", j.seed, time.Since(j.began), what)
	}
}

func (j *journal) failed() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.faults > 0
}

// log adds a line to what happened.
func (j *journal) log(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.trace = append(j.trace, fmt.Sprintf("%10v  ", time.Since(j.began).Round(time.Microsecond))+fmt.Sprintf(format, args...))
}

// bit counts the faults that happened.
func (j *journal) bit(what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.struck[what]++
}

func (j *journal) strikes() map[string]int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.struck)
}

// report prints what happened, if somebody wants to know.
func (j *journal) report() {
	if j.failed() || j.test.Failed() || *oneSeed != 0 {
		j.test.Log(j.text())
	}
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return fmt.Sprintf("replay: scripts/sim.sh %s --seed %d\n%s", j.what, j.seed, strings.Join(j.trace, "\n"))
}

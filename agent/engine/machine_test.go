package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// Scripts of evidence: G good probe, B bad probe, R refusal, C connection.
func TestMachine(t *testing.T) {
	timing := DefaultTiming() // 3 bad, 2 good
	tests := map[string]struct {
		script string
		want   peer.Health
	}{
		"nothing seen":                  {"", peer.Unhealthy},
		"first good probe starts":       {"G", peer.Healthy},
		"first bad probe does not":      {"B", peer.Unhealthy},
		"after a bad start two needed":  {"BG", peer.Unhealthy},
		"after a bad start two suffice": {"BGG", peer.Healthy},
		"two bad are borne":             {"GBB", peer.Healthy},
		"three bad are not":             {"GBBB", peer.Unhealthy},
		"bad must be in a row":          {"GBBGBBGBB", peer.Healthy},
		"good must be in a row":         {"GBBBGBGB", peer.Unhealthy},
		"busy for ever is not dead":     {"GBBBBBBBBBBBB", peer.Unhealthy},
		"one refusal is borne":          {"GR", peer.Healthy},
		"two refusals are death":        {"GRR", peer.Dead},
		"refusals must be in a row":     {"GRCRCR", peer.Healthy},
		"a bad probe is no refusal":     {"GRB", peer.Healthy},
		"bad probes keep the dead dead": {"GRRBBB", peer.Dead},
		"connection raises the dead":    {"GRRC", peer.Unhealthy},
		"risen and one good":            {"GRRCG", peer.Unhealthy},
		"risen and two good":            {"GRRCGG", peer.Healthy},
		"dead again":                    {"GRRCRR", peer.Dead},
		"refusals before any probe":     {"RR", peer.Dead},
		"dead at the start, then good":  {"RRBCG", peer.Unhealthy},
		"unhealthy may die":             {"GBBBRR", peer.Dead},
		"connections prove no health":   {"GBBBCCCCC", peer.Unhealthy},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(0, 0)
			m := newMachine(now)
			for i, c := range tc.script {
				now = now.Add(time.Second)
				before := m.health
				m = m.next(map[rune]evidence{'G': sawGoodProbe, 'B': sawBadProbe, 'R': sawRefusal, 'C': sawConnection}[c], string(c), now, timing)
				if changed := m.health != before; changed != m.since.Equal(now) {
					t.Errorf("step %d: changed %v, but since is %v at %v", i, changed, m.since, now)
				}
			}
			if m.health != tc.want {
				t.Errorf("after %q: %s, want %s", tc.script, m.health, tc.want)
			}
		})
	}
}

func TestTimingValidate(t *testing.T) {
	if err := DefaultTiming().Validate(); err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(*Timing){
		func(t *Timing) { t.Interval = 0 }, func(t *Timing) { t.Timeout = 0 }, func(t *Timing) { t.FailThreshold = 0 },
		func(t *Timing) { t.PassThreshold = 0 }, func(t *Timing) { t.FailAfter = -1 },
	} {
		tm := DefaultTiming()
		change(&tm)
		if tm.Validate() == nil {
			t.Errorf("change %d is accepted: %+v", i, tm)
		}
	}
}

func TestJitter(t *testing.T) {
	for _, tc := range []struct {
		r    float64
		want time.Duration
	}{{0, 900 * time.Millisecond}, {0.5, time.Second}, {0.999, 1099800 * time.Microsecond}} {
		if got := jitter(time.Second, tc.r); got != tc.want {
			t.Errorf("jitter(1s, %v) = %v, want %v", tc.r, got, tc.want)
		}
	}
}

func ExampleParseFlag() {
	cfg, err := ParseFlag("shiny=http://127.0.0.1:3838")
	fmt.Println(cfg.Name, cfg.URL, err)
	// Output: shiny http://127.0.0.1:3838 <nil>
}

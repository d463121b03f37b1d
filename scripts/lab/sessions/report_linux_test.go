package sessions

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/trial"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		ok   bool
	}{
		{"as it comes", []string{"--binary", "x"}, true},
		{"less", []string{"--binary", "x", "--losses", "stopped", "--stretch", "1m", "--every", "2s", "--sessions", "60"}, true},
		{"no binary", nil, false},
		{"no such loss", []string{"--binary", "x", "--losses", "rain"}, false},
		{"too few sessions", []string{"--binary", "x", "--sessions", "3"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parse(tc.args, io.Discard)
			if tc.ok && err != nil || !tc.ok && !errors.Is(err, trial.ErrUsage) {
				t.Error(err)
			}
		})
	}
}

func TestGoals(t *testing.T) {
	well := history.Moved{Sessions: 3, Owned: 1, Moved: 1, Elsewhere: []time.Duration{2 * time.Second}}
	with := func(change func(*history.Moved)) *measurement {
		m := well
		change(&m)
		return &measurement{moved: []moved{{killed, m}}}
	}
	for name, tc := range map[string]struct {
		m      *measurement
		missed []string // ends of names
	}{
		"all is well":       {with(func(*history.Moved) {}), nil},
		"the last is late":  {with(func(m *history.Moved) { m.Elsewhere = append(m.Elsewhere, 2001*time.Millisecond) }), []string{"elsewhere"}},
		"one never moved":   {with(func(m *history.Moved) { m.Owned++ }), []string{"not served again"}},
		"one failed":        {with(func(m *history.Moved) { m.Failed++ }), []string{"failed otherwise"}},
		"on the wire":       {with(func(m *history.Moved) { m.OnWire, m.ByDoor = 7, 7 }), nil},
		"one was touched":   {with(func(m *history.Moved) { m.Touched++ }), []string{"touched"}},
		"no quorum":         {&measurement{kept: &kept{Kept: history.Kept{Sessions: 2, Asked: 10}}}, nil},
		"one failed then":   {&measurement{kept: &kept{Kept: history.Kept{Sessions: 2, Asked: 10000, Failed: 1}}}, []string{"served"}},
		"one left":          {&measurement{kept: &kept{Kept: history.Kept{Sessions: 2, Asked: 10, Left: 1}}}, []string{"left"}},
		"it ended early":    {&measurement{kept: &kept{Kept: history.Kept{Sessions: 2, Asked: 10}, lasted: time.Minute, until: 30 * time.Second}}, []string{"came after"}},
		"nobody ever asked": {&measurement{kept: &kept{Kept: history.Kept{Sessions: 2}}}, []string{"served"}},
	} {
		t.Run(name, func(t *testing.T) {
			var missed []string
			for _, g := range tc.m.goals() {
				if g.Verdict() == "MISSED" {
					missed = append(missed, g.Name)
				}
			}
			if !slices.EqualFunc(missed, tc.missed, strings.HasSuffix) {
				t.Errorf("%q, want %q", missed, tc.missed)
			}
			what := killed
			if tc.m.kept != nil {
				what = noQuorum
			}
			if wrong := len(tc.missed) > 0; tc.m.wrong(what) != wrong {
				t.Errorf("wrong: %t", !wrong)
			}
		})
	}
}

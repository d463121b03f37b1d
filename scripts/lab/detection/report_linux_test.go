package detection

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ushercluster/usher/scripts/lab/trial"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		ok   bool
	}{
		{"as it comes", []string{"--binary", "x"}, true},
		{"less", []string{"--binary", "x", "--timeouts", "1s", "--repeats", "1", "--parts", "loops"}, true},
		{"no binary", nil, false},
		{"no such part", []string{"--binary", "x", "--parts", "rain"}, false},
		{"a timeout that agents refuse", []string{"--binary", "x", "--timeouts", "1ms"}, false},
		{"no repeats", []string{"--binary", "x", "--repeats", "0"}, false},
		{"words behind", []string{"--binary", "x", "more"}, false},
		{"no such flag", []string{"--binary", "x", "--maybe"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parse(tc.args, io.Discard)
			if tc.ok && err != nil || !tc.ok && !errors.Is(err, trial.ErrUsage) {
				t.Error(err)
			}
		})
	}
}

func times(ms ...int) []time.Duration {
	var out []time.Duration
	for _, n := range ms {
		out = append(out, time.Duration(n)*time.Millisecond)
	}
	return out
}

func TestGoals(t *testing.T) {
	byDefault := how{defaultElection, true}
	for name, tc := range map[string]struct {
		m      measurement
		missed []string // begins of names
	}{
		"kills at their goals": {measurement{outages: []outage{{byDefault, "killed", times(60, 30, 250), 0}}}, nil},
		"kills are slow":       {measurement{outages: []outage{{byDefault, "killed", times(61, 61, 251), 0}}}, []string{"leader killed, 500ms, median", "leader killed, 500ms, worst"}},
		"hangs at their goals": {measurement{outages: []outage{{byDefault, "hung (SIGSTOP)", times(1200, 1100, 2500), 0}}}, nil},
		"one never ended":      {measurement{outages: []outage{{byDefault, "black-holed", times(1000, 1000), 1}}}, []string{"leader black-holed, 500ms, worst"}},
		"none ever ended":      {measurement{outages: []outage{{byDefault, "black-holed", nil, 3}}}, []string{"leader black-holed, 500ms, median", "leader black-holed, 500ms, worst"}},
		"others have no goal":  {measurement{outages: []outage{{how{defaultElection, false}, "killed", times(2000), 0}, {how{time.Second, true}, "killed", times(2000), 0}}}, nil},
		"nor have hung disks":  {measurement{outages: []outage{{byDefault, "hung disk", times(20000), 0}}}, nil},
		"detection is damped":  {measurement{loops: []crashes{{what: "whoever leads", most: 1}}}, nil},
		"it is not":            {measurement{loops: []crashes{{what: "whoever leads", most: 2}}}, []string{"elections by detection"}},
		"a lost write":         {measurement{wrong: []string{"it is gone"}}, []string{"promises"}},
	} {
		t.Run(name, func(t *testing.T) {
			var missed []string
			for _, g := range tc.m.goals() {
				if g.Verdict() == "MISSED" {
					missed = append(missed, g.Name)
				}
			}
			if !slices.EqualFunc(missed, tc.missed, strings.HasPrefix) {
				t.Errorf("%q, want %q", missed, tc.missed)
			}
		})
	}
}

func TestRecoveryTable(t *testing.T) {
	h := how{250 * time.Millisecond, true}
	m := measurement{
		options: options{timeouts: []time.Duration{h.Election}},
		outages: []outage{{h, "killed", times(20, 40, 30), 0}, {h, "hung disk", times(9000), 2}},
		alarms:  []alarm{{how: h, what: slowDisks, elections: 2}, {how: how{h.Election, false}, what: underQuota}},
	}
	want := [][]string{
		{"250ms", "on", "30 / 40", "-", "-", "9000 / 9000, 2 over 30s", "-", "2"},
		{"250ms", "off", "-", "-", "-", "-", "0", "-"},
	}
	if got := m.recoveryTable().Rows; !slices.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("%q", got)
	}
}

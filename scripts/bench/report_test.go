package bench

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVerdict(t *testing.T) {
	for name, tc := range map[string]struct {
		goal Goal
		want string
	}{
		"enough":             {Goal{Value: 1.4, Limit: 1.3, AtLeast: true}, "reached"},
		"exactly enough":     {Goal{Value: 1.3, Limit: 1.3, AtLeast: true}, "reached"},
		"too little":         {Goal{Value: 1.29, Limit: 1.3, AtLeast: true}, "MISSED"},
		"little":             {Goal{Value: 0.8, Limit: 0.9}, "reached"},
		"exactly the most":   {Goal{Value: 0.9, Limit: 0.9}, "reached"},
		"too much":           {Goal{Value: 0.91, Limit: 0.9}, "MISSED"},
		"no number":          {Goal{Value: math.NaN(), Limit: 0.9}, "MISSED"},
		"nothing to compare": {Goal{Value: 0, Limit: 1.3, AtLeast: true, Skipped: "no etcd"}, "skipped"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.goal.Verdict(); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			err := Judge([]Goal{{Value: 1, Limit: 1}, tc.goal})
			if errors.Is(err, ErrMissed) != (tc.want == "MISSED") {
				t.Errorf("judged as %v", err)
			}
		})
	}
}

func TestPrint(t *testing.T) {
	table := GoalTable([]Goal{
		{Name: "writes", Value: 1.5, Limit: 1.3, AtLeast: true, Unit: " x", Note: "of 3"},
		{Name: "reads", Limit: 0.55, Unit: " x", Skipped: "no etcd"},
	})
	for name, tc := range map[string]struct {
		markdown bool
		want     string
	}{
		"terminal": {false, "" +
			"goal    measured     wanted  verdict\n" +
			"writes    1.50 x  >= 1.30 x  reached     of 3\n" +
			"reads          -  <= 0.55 x  skipped  no etcd\n\n"},
		"markdown": {true, "" +
			"| goal   | measured |    wanted | verdict |         |\n" +
			"| ------ | -------: | --------: | ------: | ------: |\n" +
			"| writes |   1.50 x | >= 1.30 x | reached |    of 3 |\n" +
			"| reads  |        - | <= 0.55 x | skipped | no etcd |\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			table.Print(&out, tc.markdown)
			if diff := cmp.Diff(tc.want, out.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

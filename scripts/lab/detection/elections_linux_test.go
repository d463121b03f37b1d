package detection

import (
	"testing"
	"time"

	"github.com/ushercluster/usher/scripts/lab/world"
)

func at(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }

func gone(node string, term uint64, s float64) world.Line {
	return world.Line{Node: node, Term: term, At: at(s), Message: world.Gone}
}

func leads(node string, term uint64, s float64) world.Line {
	return world.Line{Node: node, Term: term, At: at(s), Message: world.Leads}
}

func TestElectionsOf(t *testing.T) {
	for name, tc := range map[string]struct {
		lines         []world.Line
		all, detected int
	}{
		"none":                            {nil, 0, 0},
		"one of five says so":             {[]world.Line{gone("n1", 3, 1), leads("n2", 4, 2)}, 1, 0},
		"two of five":                     {[]world.Line{gone("n1", 3, 1), gone("n2", 3, 1), leads("n2", 4, 2)}, 1, 0},
		"three of five":                   {[]world.Line{gone("n1", 3, 1), gone("n2", 3, 1), gone("n3", 3, 1), leads("n2", 4, 1.1)}, 1, 1},
		"four of five are one":            {[]world.Line{gone("n1", 3, 1), gone("n2", 3, 1), gone("n3", 3, 1), gone("n4", 3, 1), leads("n2", 4, 1.1)}, 1, 1},
		"the same one several times":      {[]world.Line{gone("n1", 3, 1), gone("n1", 3, 2), gone("n1", 3, 3)}, 0, 0},
		"three of different terms":        {[]world.Line{gone("n1", 3, 1), gone("n2", 4, 1), gone("n3", 5, 1)}, 0, 0},
		"logs that come one by one":       {[]world.Line{leads("n2", 4, 1.1), gone("n3", 3, 1), gone("n1", 3, 1), gone("n2", 3, 1)}, 1, 1},
		"what was before does not count":  {[]world.Line{gone("n1", 3, -3), gone("n2", 3, -2), gone("n3", 3, -1), leads("n2", 4, -1)}, 0, 0},
		"a term that is led is led once":  {[]world.Line{leads("n2", 4, 1), leads("n2", 4, 2)}, 1, 0},
		"two elections, one by detection": {[]world.Line{gone("n1", 3, 1), gone("n2", 3, 1), gone("n3", 3, 1), leads("n2", 4, 1.1), leads("n1", 5, 4)}, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if e := electionsOf(tc.lines, 5, at(0)); e.All != tc.all || len(e.Detected) != tc.detected {
				t.Errorf("%+v, want %d and %d", e, tc.all, tc.detected)
			}
		})
	}
}

func TestMostWithin(t *testing.T) {
	for name, tc := range map[string]struct {
		times []float64
		want  int
	}{
		"none":                   {nil, 0},
		"one":                    {[]float64{3}, 1},
		"just far enough":        {[]float64{3, 13}, 1},
		"nearly":                 {[]float64{3, 12.999}, 2},
		"a window in the middle": {[]float64{0, 11, 14, 20, 32}, 3},
	} {
		var times []time.Time
		for _, s := range tc.times {
			times = append(times, at(s))
		}
		if got := mostWithin(times, 10*time.Second); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

package bench

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for name, tc := range map[string]struct {
		sorted []time.Duration
		p      float64
		want   time.Duration
	}{
		"of nothing":          {nil, 0.5, 0},
		"of one":              {[]time.Duration{7}, 0.99, 7},
		"half of two":         {[]time.Duration{1, 2}, 0.5, 1},
		"half of three":       {[]time.Duration{1, 2, 3}, 0.5, 2},
		"the 50th of hundred": {hundred, 0.50, 50},
		"the 95th of hundred": {hundred, 0.95, 95},
		"the 99th of hundred": {hundred, 0.99, 99},
		"nothing is below":    {hundred, 0, 1},
		"all":                 {hundred, 1, 100},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Percentile(tc.sorted, tc.p); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	values := []float64{3, 1, 2, 4}
	if got := Median(values); got != 3 {
		t.Errorf("of four: %v, want the upper one, 3", got)
	}
	if diff := cmp.Diff([]float64{3, 1, 2, 4}, values); diff != "" {
		t.Errorf("the values were changed: %s", diff)
	}
	if got := Median([]int{5, 9, 1}); got != 5 {
		t.Errorf("of three: %d, want 5", got)
	}
	if got := Median[int](nil); got != 0 {
		t.Errorf("of nothing: %d", got)
	}
}

func TestLongestGap(t *testing.T) {
	for name, tc := range map[string]struct {
		events      []int64
		from, to    int64
		began, ends int64
	}{
		"no event at all":              {nil, 10, 50, 10, 50},
		"before the first":             {[]int64{40, 42, 44}, 10, 46, 10, 40},
		"after the last":               {[]int64{12, 14}, 10, 50, 14, 50},
		"answers still on their way":   {[]int64{11, 12, 90, 91, 92}, 10, 93, 12, 90},
		"out of order":                 {[]int64{92, 12, 90, 11, 91}, 10, 93, 12, 90},
		"what lies outside is not his": {[]int64{1, 5, 12, 20, 100}, 10, 22, 12, 20},
		"the first of equals":          {[]int64{20, 30}, 10, 40, 10, 20},
		"an empty window":              {[]int64{5}, 10, 10, 10, 10},
	} {
		t.Run(name, func(t *testing.T) {
			began, ended := LongestGap(tc.events, tc.from, tc.to)
			if began != tc.began || ended != tc.ends {
				t.Errorf("got %d to %d, want %d to %d", began, ended, tc.began, tc.ends)
			}
		})
	}
}

package bench

import (
	"strings"
	"testing"
)

func TestLost(t *testing.T) {
	for name, tc := range map[string]struct {
		writes []Write
		final  Final
		want   string // part of the error
	}{
		"never written":                  {nil, Final{Seq: 99}, ""},
		"the last one":                   {[]Write{{0, 1, 10, 20, 5}, {0, 2, 30, 40, 6}}, Final{2, 6}, ""},
		"the last one is gone":           {[]Write{{0, 1, 10, 20, 0}, {0, 2, 30, 40, 0}}, Final{1, 0}, "although 2 was begun"},
		"two at once: either":            {[]Write{{0, 1, 10, 35, 5}, {0, 2, 30, 40, 5}}, Final{1, 6}, ""},
		"older by its version":           {[]Write{{0, 1, 10, 35, 5}, {0, 2, 30, 40, 6}}, Final{1, 5}, "version 6"},
		"unknown and not done":           {[]Write{{0, 1, 10, 20, 5}, {0, 2, 30, 0, 0}}, Final{1, 5}, ""},
		"unknown and done":               {[]Write{{0, 1, 10, 20, 5}, {0, 2, 30, 0, 0}}, Final{2, 6}, ""},
		"unknown, done late":             {[]Write{{0, 1, 10, 0, 0}, {0, 2, 30, 40, 5}}, Final{1, 6}, ""},
		"unknown over an older version":  {[]Write{{0, 1, 10, 0, 0}, {0, 2, 30, 40, 5}}, Final{1, 4}, "version 5"},
		"what nobody wrote":              {[]Write{{0, 1, 10, 20, 5}}, Final{7, 9}, "nobody wrote"},
		"only unknown and none was done": {[]Write{{0, 1, 10, 0, 0}}, Final{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := Lost(tc.writes, []Final{tc.final})
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("nothing was lost: %v", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

func TestLostLooksAtEachKey(t *testing.T) {
	writes := []Write{{0, 1, 10, 20, 1}, {1, 2, 10, 20, 2}, {1, 3, 30, 40, 3}}
	if err := Lost(writes, []Final{{1, 1}, {3, 3}, {0, 0}}); err != nil {
		t.Error(err)
	}
	if err := Lost(writes, []Final{{1, 1}, {2, 2}, {0, 0}}); err == nil || !strings.Contains(err.Error(), "key 1") {
		t.Errorf("got %v, want key 1", err)
	}
}

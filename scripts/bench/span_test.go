package bench

import (
	"testing"
	"time"
)

func TestOutageAndGap(t *testing.T) {
	for name, tc := range map[string]struct {
		s           Span
		outage, gap time.Duration
	}{
		"answers still on their way": {Span{100, 1000, []int64{101, 103, 600, 602, 700, 800, 900}, 600}, 500, 497},
		"a later gap is none of it":  {Span{100, 1000, []int64{110, 120, 700, 900}, 120}, 20, 580},
		"none came after the loss":   {Span{100, 1000, []int64{150}, 0}, 900, 850},
		"a move without a gap":       {Span{100, 140, []int64{110, 120, 130}, 110}, 10, 10},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.s.Outage() != tc.outage || tc.s.Gap() != tc.gap {
				t.Errorf("outage %d and gap %d, want %d and %d", tc.s.Outage(), tc.s.Gap(), tc.outage, tc.gap)
			}
		})
	}
}

package bench

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Percentile is the smallest of the sorted values that at least the part p of them
// (0 to 1) does not exceed: the nearest rank. It is zero of nothing.
func Percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Median is the value in the middle, the upper one of an even number, and zero of
// nothing. The values may come in any order and stay as they are.
func Median[T cmp.Ordered](values []T) T {
	var none T
	if len(values) == 0 {
		return none
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// LongestGap finds the longest time without an event between from and to, both taken
// as events too: where it began and where it ended. All are nanoseconds of one clock;
// the events may come in any order. Of equal gaps it is the first.
func LongestGap(events []int64, from, to int64) (began, ended int64) {
	inside := make([]int64, 0, len(events)+1)
	for _, e := range events {
		if e > from && e < to {
			inside = append(inside, e)
		}
	}
	slices.Sort(inside)
	began, ended = from, from
	last := from
	for _, e := range append(inside, to) {
		if e-last > ended-began {
			began, ended = last, e
		}
		last = e
	}
	return began, ended
}

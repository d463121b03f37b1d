package bench

import "time"

// Span is a time and the acknowledgements in it, in nanoseconds of one clock.
type Span struct {
	From, To int64
	Acks     []int64
	Fresh    int64 // the first acknowledgement of a write that began after From; 0: none
}

// Outage is the time from the span's begin to the first acknowledgement of a write that
// began after it: right after a loss some answers are still on their way, and they are
// no sign of recovery.
func (s Span) Outage() time.Duration {
	if s.Fresh == 0 {
		return time.Duration(s.To - s.From)
	}
	return time.Duration(s.Fresh - s.From)
}

// Gap is the longest time without an acknowledgement.
func (s Span) Gap() time.Duration {
	began, ended := LongestGap(s.Acks, s.From, s.To)
	return time.Duration(ended - began)
}

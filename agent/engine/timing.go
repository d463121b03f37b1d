package engine

import (
	"errors"
	"fmt"
	"time"
)

// Timing is how often and how patiently an engine is probed. It comes from the
// cluster's settings and may change while an Engine runs.
type Timing struct {
	Interval      time.Duration // between two probes, jittered by a tenth either way
	Timeout       time.Duration // of one probe, from the first packet to the last byte read
	FailThreshold int           // bad probes in a row that make a healthy engine unhealthy
	PassThreshold int           // good probes in a row that make it healthy again
	FailAfter     time.Duration // how long an engine is dead before its sessions move: Status.LostAt
}

// DefaultTiming is used where Options leave Timing zero.
func DefaultTiming() Timing {
	return Timing{
		Interval:      2 * time.Second,
		Timeout:       2 * time.Second,
		FailThreshold: 3,
		PassThreshold: 2,
		FailAfter:     5 * time.Second,
	}
}

// Validate reports the first value that an Engine would refuse.
func (t Timing) Validate() error {
	switch {
	case t.Interval < 100*time.Millisecond || t.Interval > time.Hour:
		return fmt.Errorf("probe interval %v: use 100ms to 1h", t.Interval)
	case t.Timeout < 10*time.Millisecond || t.Timeout > time.Hour:
		return fmt.Errorf("probe timeout %v: use 10ms to 1h", t.Timeout)
	case t.FailThreshold < 1 || t.FailThreshold > 1000:
		return fmt.Errorf("fail threshold %d: use 1 to 1000", t.FailThreshold)
	case t.PassThreshold < 1 || t.PassThreshold > 1000:
		return fmt.Errorf("pass threshold %d: use 1 to 1000", t.PassThreshold)
	case t.FailAfter < 0:
		return errors.New("fail after: it cannot be negative")
	}
	return nil
}

// jitter spreads d by a tenth either way; r is in [0, 1).
func jitter(d time.Duration, r float64) time.Duration {
	return d - d/10 + time.Duration(r*float64(d/5))
}

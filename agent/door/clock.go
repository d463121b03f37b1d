package door

import "time"

// steady makes of a wall clock one that goes on evenly when that is set: it begins with it, and
// then counts elapsed time. Whatever has a duration is measured by it: what is idle, alive,
// late or kept. A machine whose clock is set a day ahead would otherwise end all its sessions.
//
// The wall clock itself is for what other machines read: when a session began, in its cookie.
func steady(wall func() time.Time) func() time.Time {
	began, since := wall(), time.Now()
	return func() time.Time { return began.Add(time.Since(since)) }
}

// age is how old a session is that began at that time of the wall clock.
func (d *Door) age(issued time.Time) time.Duration {
	if issued.IsZero() {
		return 0
	}
	return max(d.wall().Sub(issued), 0)
}

// wallTime is when it was that time of the steady clock, Unix nanoseconds.
func (d *Door) wallTime(at int64) time.Time {
	return d.wall().Add(time.Duration(at - d.cfg.Now().UnixNano()))
}

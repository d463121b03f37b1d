package scheduler

import "time"

// horizon bounds the search for a time that never comes. February 29th on a given
// day of the week may need 40 years (when a century has no leap day).
const horizon = 41 * 366 * 24 * time.Hour

// next is the schedule's first time after the given one, in zone; zero when there
// is none. Clocks that are moved are treated by the rule of ISC cron
// (cron(8), "local time changes"), without its bound of three hours:
//
//   - A schedule that names times of day (no field of its time begins with *) keeps
//     them: those that the clocks skip come due together at the end of the gap, and
//     those that the clocks show twice come due the first time only.
//   - Any other schedule follows elapsed time: it is due whenever the clocks show a
//     time that matches, so not in a gap, and twice when an hour is repeated.
//
// A civil time is kept as the time.Time in UTC that reads the same. Between two
// moves of the clocks, civil and real time differ by a constant; the search goes
// from one such segment to the next.
func (s *spec) next(after time.Time, zone *time.Location) time.Time {
	at := after.Truncate(time.Second).Add(time.Second) // the first candidate
	limit := after.Add(horizon)
	for at.Before(limit) {
		seg := segmentOf(at, zone)
		low := seg.civil(at)
		if s.fixed && seg.moved {
			if after.Before(seg.begin) && !s.civil(seg.expected, seg.civil(seg.begin)).IsZero() {
				return seg.begin // it names a time in the gap
			}
			if seg.expected.After(low) {
				low = seg.expected // what lies before was shown in the segment before
			}
		}
		end := limit
		if !seg.end.IsZero() {
			end = seg.end
		}
		if c := s.civil(low, seg.civil(end)); !c.IsZero() {
			return seg.real(c)
		}
		at = end
	}
	return time.Time{}
}

// segment is a time between two moves of a zone's clocks.
type segment struct {
	begin, end time.Time // zero: for ever
	offset     time.Duration
	moved      bool      // the clocks were moved at begin
	expected   time.Time // the civil time that they would have shown at begin otherwise
}

func segmentOf(t time.Time, zone *time.Location) segment {
	t = t.In(zone)
	g := segment{offset: offset(t)}
	g.begin, g.end = t.ZoneBounds()
	if !g.end.IsZero() && !g.end.After(t) {
		// Past the years that a zone's table lists, Go 1.26 takes every year for 365
		// days long here. No rule moves clocks but at a quarter of an hour.
		g.end = t.Truncate(15 * time.Minute).Add(15 * time.Minute)
	}
	if g.begin.IsZero() {
		return g
	}
	before := offset(g.begin.Add(-1))
	g.moved = before != g.offset
	g.expected = g.begin.UTC().Add(before)
	return g
}

func offset(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}

func (g segment) civil(t time.Time) time.Time { return t.UTC().Add(g.offset) }
func (g segment) real(c time.Time) time.Time  { return c.Add(-g.offset) }

// civil is the first civil time in [low, end) that matches; zero when there is none.
func (s *spec) civil(low, end time.Time) time.Time {
	if !low.Before(end) {
		return time.Time{}
	}
	if t, ok := s.timeOfDay(low.Clock()); ok && s.date(low) {
		return within(midnight(low).Add(t), end)
	}
	first, ok := s.timeOfDay(0, 0, 0)
	if !ok {
		return time.Time{}
	}
	for d := midnight(low).AddDate(0, 0, 1); d.Before(end); {
		switch {
		case s.mon>>int(d.Month())&1 == 0:
			d = time.Date(d.Year(), d.Month()+1, 1, 0, 0, 0, 0, time.UTC)
		case !s.date(d):
			d = d.AddDate(0, 0, 1)
		default:
			return within(d.Add(first), end)
		}
	}
	return time.Time{}
}

func within(t, end time.Time) time.Time {
	if t.Before(end) {
		return t
	}
	return time.Time{}
}

func midnight(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
}

func (s *spec) date(d time.Time) bool {
	return s.mon>>int(d.Month())&1 == 1 && s.day(d.Day(), int(d.Weekday()))
}

// timeOfDay is the first matching time of a day that is not before h:m:sec, since
// midnight.
func (s *spec) timeOfDay(h, m, sec int) (time.Duration, bool) {
	hour := from(s.hour, h)
	if hour != h {
		m, sec = 0, 0
	}
	minute, second := from(s.min, m), -1
	if hour >= 0 && minute >= 0 {
		if minute != m {
			sec = 0
		}
		if second = from(s.sec, sec); second < 0 { // next minute
			if minute, second = from(s.min, minute+1), from(s.sec, 0); minute < 0 {
				second = -1
			}
		}
	}
	if hour >= 0 && second < 0 { // next hour
		hour, minute, second = from(s.hour, hour+1), from(s.min, 0), from(s.sec, 0)
	}
	if hour < 0 || minute < 0 || second < 0 {
		return 0, false
	}
	return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second, true
}

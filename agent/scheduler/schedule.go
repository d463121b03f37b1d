package scheduler

import (
	"errors"
	"fmt"
	"time"

	_ "time/tzdata" // a machine without a time zone database has zones all the same

	"github.com/ushercluster/usher/fsm"
)

// ErrNever means that a task never comes due again, such as one on February 30th.
var ErrNever = errors.New("never comes due again")

// minEvery is the shortest interval; the state has the same bound.
const minEvery = time.Second

// Due is the task's next nominal time strictly after the given one, in UTC, and
// never before its Start. An interval is elapsed time counted from Start; a cron
// expression follows the clocks of the task's zone (see spec.next for what happens
// when they are moved). It looks at Cron, Every, Zone and Start alone. The error
// wraps ErrNever, or says what is wrong with the schedule. A task without a Start
// has not been stored yet; its interval counts from the given time.
func Due(task fsm.Task, after time.Time) (time.Time, error) {
	s, err := parseSchedule(task)
	if err != nil {
		return time.Time{}, err
	}
	return s.next(after)
}

// Validate reports the first thing that is wrong with the task's schedule: its
// expression, interval, or zone. The other fields are checked by the state.
func Validate(task fsm.Task) error {
	s, err := parseSchedule(task)
	if err != nil {
		return err
	}
	// What can never come due is a mistake now, not a silence later.
	from := s.start
	if from.IsZero() {
		from = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	_, err = s.next(from)
	return err
}

// Next lists up to n coming due times after the given one. It is shorter when the
// task never comes due again, and empty when its schedule is invalid.
func Next(task fsm.Task, after time.Time, n int) []time.Time {
	s, err := parseSchedule(task)
	if err != nil {
		return nil
	}
	var out []time.Time
	for range n {
		if after, err = s.next(after); err != nil {
			break
		}
		out = append(out, after)
	}
	return out
}

// schedule is a task's timing, parsed.
type schedule struct {
	task  string
	start time.Time
	every time.Duration
	cron  *spec // nil: every counts
	zone  *time.Location
}

func parseSchedule(t fsm.Task) (*schedule, error) {
	s := &schedule{task: t.Name, start: t.Start.Time(), every: t.Every}
	var err error
	switch {
	case (t.Cron == "") == (t.Every == 0):
		err = errors.New("give either a cron expression or an interval")
	case t.Every != 0 && t.Every < minEvery:
		err = fmt.Errorf("every %s: an interval is at least %s", t.Every, minEvery)
	default:
		s.zone, err = loadZone(t.Zone)
	}
	if err == nil && t.Cron != "" {
		s.cron, err = parseCron(t.Cron)
	}
	if err != nil {
		return nil, fmt.Errorf("task %s: %w", t.Name, err)
	}
	return s, nil
}

// loadZone reads a zone by its IANA name. The machine's own zone is refused: nodes
// may differ in it, and would then differ in what is due.
func loadZone(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("zone %q: use an IANA name such as Europe/Berlin, or UTC", name)
	}
	return loc, nil
}

func (s *schedule) next(after time.Time) (time.Time, error) {
	early := !s.start.IsZero() && after.Before(s.start)
	var due time.Time
	switch {
	case s.cron != nil && early:
		due = s.cron.next(s.start.Add(-1), s.zone)
	case s.cron != nil:
		due = s.cron.next(after, s.zone)
	case early:
		due = s.start
	case s.start.IsZero():
		due = after.Add(s.every)
	default:
		due = s.start.Add((after.Sub(s.start)/s.every + 1) * s.every)
	}
	if due.IsZero() {
		return due, fmt.Errorf("task %s: cron %q %w", s.task, s.cron.text, ErrNever)
	}
	return due.UTC(), nil
}

// calendar is Due for one caller who asks for the same tasks again and again: it
// keeps each schedule parsed, and its last answer. Not safe for concurrent use.
type calendar map[string]*page

type page struct {
	schedule *schedule
	err      error
	of       timing
	after    time.Time
	due      time.Time
	dueErr   error
}

// timing is what a schedule depends on.
type timing struct {
	cron, zone string
	every      time.Duration
	start      fsm.Stamp
}

func (c calendar) due(t *fsm.Task, after time.Time) (time.Time, error) {
	of := timing{t.Cron, t.Zone, t.Every, t.Start}
	p := c[t.Name]
	if p == nil || p.of != of {
		p = &page{of: of}
		p.schedule, p.err = parseSchedule(*t)
		c[t.Name] = p
	}
	if p.err != nil {
		return time.Time{}, p.err
	}
	if p.due.IsZero() && p.dueErr == nil || !p.after.Equal(after) {
		p.after = after
		p.due, p.dueErr = p.schedule.next(after)
	}
	return p.due, p.dueErr
}

// forget drops the tasks that are no more.
func (c calendar) forget(tasks []*fsm.Task) {
	if len(c) <= 2*len(tasks)+16 {
		return
	}
	clear(c)
}

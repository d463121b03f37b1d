package scheduler

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/fsm"
)

func utc(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestDue(t *testing.T) {
	start := fsm.StampOf(utc("2026-03-01T12:00:00.5Z"))
	for _, tc := range []struct {
		name, after, want string
		task              fsm.Task
	}{
		{"interval, before its start", "2026-03-01T11:00:00Z", "2026-03-01T12:00:00.5Z", fsm.Task{Every: 7 * time.Minute, Start: start}},
		{"interval, at its start", "2026-03-01T12:00:00.5Z", "2026-03-01T12:07:00.5Z", fsm.Task{Every: 7 * time.Minute, Start: start}},
		{"interval, between", "2026-03-01T12:07:00.4Z", "2026-03-01T12:07:00.5Z", fsm.Task{Every: 7 * time.Minute, Start: start}},
		{"interval, years later", "2036-03-01T12:00:00.6Z", "2036-03-01T12:00:01.5Z", fsm.Task{Every: time.Second, Start: start}},
		{"interval across moved clocks is elapsed time", "2026-03-29T00:30:00Z", "2026-03-29T12:00:00.5Z", fsm.Task{Every: 24 * time.Hour, Start: start, Zone: "Europe/Berlin"}},
		{"interval without a start", "2026-03-01T11:00:00Z", "2026-03-01T11:07:00Z", fsm.Task{Every: 7 * time.Minute}},
		{"cron in UTC", "2026-03-01T11:00:00Z", "2026-03-02T06:00:00Z", fsm.Task{Cron: "0 6 * * *"}},
		{"cron in a zone", "2026-03-01T11:00:00Z", "2026-03-02T05:00:00Z", fsm.Task{Cron: "0 6 * * *", Zone: "Europe/Berlin"}},
		{"cron before its start", "2026-02-01T00:00:00Z", "2026-03-01T13:00:00Z", fsm.Task{Cron: "@hourly", Start: start}},
		{"cron at its start", "2026-02-01T00:00:00Z", "2026-03-01T12:00:00Z", fsm.Task{Cron: "@hourly", Start: fsm.StampOf(utc("2026-03-01T12:00:00Z"))}},
		{"cron is strictly after", "2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z", fsm.Task{Cron: "@hourly"}},
		{"either day", "2026-03-01T12:00:00Z", "2026-03-06T00:00:00Z", fsm.Task{Cron: "0 0 13 * fri"}},
		{"first day and sunday", "2026-03-02T12:00:00Z", "2026-11-01T00:00:00Z", fsm.Task{Cron: "0 0 1 * */7"}},
		{"leap day and sunday", "2026-03-02T12:00:00Z", "2032-02-29T00:00:00Z", fsm.Task{Cron: "0 0 29 2 */7"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Due(tc.task, utc(tc.after))
			if err != nil {
				t.Fatal(err)
			}
			if !got.Equal(utc(tc.want)) || got.Location() != time.UTC {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		task       fsm.Task
	}{
		{"interval", "", fsm.Task{Every: time.Second}},
		{"cron", "", fsm.Task{Cron: "30 2 * * *", Zone: "America/New_York"}},
		{"leap day", "", fsm.Task{Cron: "0 0 29 2 *"}},
		{"neither", "give either a cron expression or an interval", fsm.Task{}},
		{"both", "give either a cron expression or an interval", fsm.Task{Every: time.Second, Cron: "@daily"}},
		{"short", "every 10ms: an interval is at least 1s", fsm.Task{Every: 10 * time.Millisecond}},
		{"negative", "every -1s: an interval is at least 1s", fsm.Task{Every: -time.Second}},
		{"zone", `zone "Europe/Atlantis": use an IANA name such as Europe/Berlin, or UTC`, fsm.Task{Cron: "@daily", Zone: "Europe/Atlantis"}},
		{"machine's zone", `zone "Local": use an IANA name`, fsm.Task{Cron: "@daily", Zone: "Local"}},
		{"path", `zone "../../etc/passwd": use an IANA name`, fsm.Task{Cron: "@daily", Zone: "../../etc/passwd"}},
		{"field", `task sales: cron "61 * * * *": minute "61": "61" is outside 0-59`, fsm.Task{Cron: "61 * * * *"}},
		{"never", `cron "0 0 30 2 *" never comes due`, fsm.Task{Cron: "0 0 30 2 *"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.task.Name = "sales"
			err := Validate(tc.task)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			if got := errors.Is(err, ErrNever); got != (tc.name == "never") {
				t.Errorf("ErrNever: %t", got)
			}
		})
	}
}

func TestNext(t *testing.T) {
	after := utc("2026-03-01T12:00:00Z")
	got := Next(fsm.Task{Cron: "0 6 * * *"}, after, 2)
	want := []time.Time{utc("2026-03-02T06:00:00Z"), utc("2026-03-03T06:00:00Z")}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("next (-want +got):\n%s", d)
	}
	for _, cron := range []string{"0 0 30 2 *", "x"} {
		if got := Next(fsm.Task{Cron: cron}, after, 2); len(got) != 0 {
			t.Errorf("next of %q: %v", cron, got)
		}
	}
}

// A calendar answers as Due does, also when the task changes or is asked about out
// of order.
func TestCalendar(t *testing.T) {
	c := calendar{}
	task := &fsm.Task{Name: "t", Cron: "*/7 * * * *"}
	after := utc("2026-03-01T12:00:00Z")
	check := func(after time.Time) {
		t.Helper()
		got, err := c.due(task, after)
		want, werr := Due(*task, after)
		if !got.Equal(want) || (err == nil) != (werr == nil) {
			t.Errorf("%q after %s: %s (%v), want %s (%v)", task.Cron, after, got, err, want, werr)
		}
	}
	for range 3 {
		check(after)
		check(after.Add(time.Hour))
	}
	for _, cron := range []string{"30 2 * * *", "0 0 30 2 *", "x", "@daily"} {
		task = &fsm.Task{Name: "t", Cron: cron}
		check(after)
		check(after)
	}
	for i := range 40 {
		task = &fsm.Task{Name: strings.Repeat("t", i+1), Every: time.Hour}
		check(after)
	}
	if c.forget([]*fsm.Task{task}); len(c) != 0 {
		t.Errorf("%d pages of tasks that are gone", len(c))
	}
}

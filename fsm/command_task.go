package fsm

import (
	"fmt"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// PutTask makes or changes a task. The form of the cron expression and the time
// zone is checked by the scheduler before it is proposed: the state must not
// depend on a version of a parser or of the time zone database.
type PutTask struct {
	Task Task // Meta, Cursor and By are ignored
	If   Match
}

func (*PutTask) kind() Kind { return KindPutTask }
func (c *PutTask) about() (string, string) {
	when := "cron " + c.Task.Cron
	if c.Task.Every > 0 {
		when = "every " + c.Task.Every.String()
	}
	return c.Task.Name, clip(fmt.Sprintf("document %s, %s", c.Task.Document, when), 256)
}

func (c *PutTask) apply(t *tx) *Error {
	if err := checkTask(&c.Task); err != nil {
		return err
	}
	old := get[*Task](t.txn, tableTasks, c.Task.Name)
	var m Meta
	if old != nil {
		m = old.Meta
	} else if count(t.txn, tableTasks) >= MaxTasks {
		return refuse(CodeLimit, "there are %d tasks, the limit", MaxTasks)
	}
	if err := match(c.If, m, "task "+c.Task.Name); err != nil {
		return err
	}
	row := c.Task
	row.Meta, row.By = t.changed(m), t.actor.String()
	row.Cursor = t.now
	if row.Start == 0 {
		row.Start = t.now
	}
	if old != nil {
		row.Paused, row.Reason = old.Paused, old.Reason
		row.Cursor = max(old.Cursor, t.now)
		if c.Task.Start == 0 {
			row.Start = old.Start
		}
		if sameSchedule(old, &row) {
			row.Cursor = old.Cursor
		}
	}
	t.put(tableTasks, &row)
	return nil
}

// sameSchedule reports whether a changed task is still due at the same times; a
// changed schedule begins now, and does not make up for times it never had.
func sameSchedule(a, b *Task) bool {
	return a.Cron == b.Cron && a.Every == b.Every && a.Zone == b.Zone && a.Start == b.Start
}

func checkTask(k *Task) *Error {
	if err := checkName("task name", k.Name); err != nil {
		return err
	}
	switch {
	case k.Document == "" || len(k.Document) > 2*MaxNameBytes:
		return refuse(CodeInvalid, "task %s: name a document of at most %d bytes", k.Name, 2*MaxNameBytes)
	case (k.Cron == "") == (k.Every == 0):
		return refuse(CodeInvalid, "task %s: give either a cron expression or an interval", k.Name)
	case k.Every != 0 && k.Every < time.Second:
		return refuse(CodeInvalid, "task %s: an interval is at least 1s", k.Name)
	case len(k.Cron) > 2*MaxNameBytes || len(k.Zone) > MaxNameBytes:
		return refuse(CodeInvalid, "task %s: the cron expression or time zone is too long", k.Name)
	case k.Attempts < 1 || k.Attempts > 100:
		return refuse(CodeInvalid, "task %s: attempts %d: use 1 to 100", k.Name, k.Attempts)
	case k.Timeout < time.Second || k.Timeout > 7*24*time.Hour:
		return refuse(CodeInvalid, "task %s: timeout %s: use 1s to 168h", k.Name, k.Timeout)
	case k.CatchUp < time.Second || k.CatchUp > 30*24*time.Hour:
		return refuse(CodeInvalid, "task %s: catch-up %s: use 1s to 720h", k.Name, k.CatchUp)
	}
	for _, s := range []string{k.Engine, k.Tag} {
		if s != "" && !peer.ValidName(s) {
			return refuse(CodeInvalid, "task %s: %q is no engine or tag name", k.Name, clip(s, 64))
		}
	}
	return nil
}

// RemoveTask deletes a task. What has not been started yet is recorded as
// skipped; what is running may finish; the history stays.
type RemoveTask struct {
	Name string
	If   Match
}

func (*RemoveTask) kind() Kind                { return KindRemoveTask }
func (c *RemoveTask) about() (string, string) { return c.Name, "" }

func (c *RemoveTask) apply(t *tx) *Error {
	old := get[*Task](t.txn, tableTasks, c.Name)
	if old == nil {
		return noTask(c.Name)
	}
	if err := match(c.If, old.Meta, "task "+c.Name); err != nil {
		return err
	}
	for _, o := range openOf(t.txn, c.Name) {
		if o.State != OccurrenceStarted {
			t.end(o, OccurrenceSkipped, "the task was removed")
		}
	}
	t.del(tableTasks, old)
	return nil
}

// PauseTask stops or resumes a task. Times that pass while it is paused are not
// made up for.
type PauseTask struct {
	Name   string
	Paused bool
	Reason string
	If     Match
}

func (*PauseTask) kind() Kind { return KindPauseTask }
func (c *PauseTask) about() (string, string) {
	if c.Paused {
		return c.Name, clip("paused: "+c.Reason, 256)
	}
	return c.Name, "resumed"
}

func (c *PauseTask) apply(t *tx) *Error {
	old := get[*Task](t.txn, tableTasks, c.Name)
	if old == nil {
		return noTask(c.Name)
	}
	if err := match(c.If, old.Meta, "task "+c.Name); err != nil {
		return err
	}
	if len(c.Reason) > 4*MaxNameBytes {
		return refuse(CodeInvalid, "reason: at most %d bytes", 4*MaxNameBytes)
	}
	row := *old
	row.Modified, row.Paused, row.Reason = t.rev, c.Paused, c.Reason
	if old.Paused && !c.Paused {
		row.Cursor = max(row.Cursor, t.now)
	}
	t.put(tableTasks, &row)
	return nil
}

// RequestRun asks for a run now, beside the schedule. The occurrence that it makes
// carries the command's revision as Created.
type RequestRun struct{ Task string }

func (*RequestRun) kind() Kind                { return KindRequestRun }
func (c *RequestRun) about() (string, string) { return c.Task, "by hand" }

// maxRequested bounds the runs by hand that wait for one task.
const maxRequested = 10

func (c *RequestRun) apply(t *tx) *Error {
	task := get[*Task](t.txn, tableTasks, c.Task)
	if task == nil {
		return noTask(c.Task)
	}
	waiting := 0
	for _, o := range openOf(t.txn, c.Task) {
		if o.Manual && o.State == OccurrencePending {
			waiting++
		}
	}
	if waiting >= maxRequested {
		return refuse(CodeLimit, "task %s has %d requested runs waiting, the limit", c.Task, waiting)
	}
	due := t.now
	for t.occurrence(c.Task, due) != nil {
		due++
	}
	t.put(tableOccurrences, &Occurrence{
		Meta: t.fresh(), Task: c.Task, Due: due, Manual: true, State: OccurrencePending, Created: t.now,
	})
	return nil
}

func noTask(name string) *Error {
	return refuse(CodeNotFound, "there is no task %q", clip(name, 64))
}

package fsm

import (
	"fmt"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// An occurrence moves like this; each arrow is a command that compares and sets:
//
//	(due) --Claim--> claimed --Start--> started --Finish--> succeeded | failed
//	  |                 |                  |  ^--Renew--|
//	  |                 +------Lose--------+------> pending (attempts left) | lost
//	  +--Skip--> missed | skipped
//
// The revision of the claim is the fencing token. Only a committed Start may
// launch work, and a Start holds only while its claim is the current one, so each
// attempt is started at most once however often leaders change.

// Lease bounds of a started attempt.
const (
	LeaseRenew = 10 * time.Second // a worker renews this often
	LeaseAbort = 20 * time.Second // and aborts this long after it sent the last acknowledged renewal
	LeaseLost  = 45 * time.Second // the leader declares it lost this long after the last renewal
	// retryBase is the pause before a second attempt; it doubles with each one, to
	// retryMax.
	retryBase = 2 * time.Second
	retryMax  = 5 * time.Minute
)

// OccurrenceID names an occurrence.
type OccurrenceID struct {
	Task string
	Due  Stamp
}

func (o OccurrenceID) about() (string, string) {
	return o.Task, "due " + o.Due.Time().Format(time.RFC3339Nano)
}

// ClaimOccurrence gives an occurrence to a node. It makes the row when the due
// time has none yet.
type ClaimOccurrence struct {
	OccurrenceID
	Attempt int
	Node    peer.ID
	Engine  string
}

func (*ClaimOccurrence) kind() Kind { return KindClaimOccurrence }

func (c *ClaimOccurrence) apply(t *tx) *Error {
	task := get[*Task](t.txn, tableTasks, c.Task)
	if task == nil {
		return noTask(c.Task)
	}
	if get[*Node](t.txn, tableNodes, string(c.Node)) == nil {
		return t.noNode(string(c.Node))
	}
	for _, o := range openOf(t.txn, c.Task) {
		if o.State != OccurrencePending && o.Due != c.Due {
			return refuse(CodeState, "task %s: the occurrence due %s is still %s", c.Task, o.Due.Time().Format(time.RFC3339Nano), o.State)
		}
	}
	row, err := t.claimable(task, c)
	if err != nil {
		return err
	}
	row.State, row.Attempt, row.Fence = OccurrenceClaimed, c.Attempt, t.rev
	row.Node, row.Engine, row.Claimed = c.Node, c.Engine, t.now
	row.Started, row.Renewed, row.Retry = 0, 0, 0
	t.put(tableOccurrences, row)
	t.moveCursor(task, row)
	return nil
}

// claimable returns a copy of the row that a claim may change.
func (t *tx) claimable(task *Task, c *ClaimOccurrence) (*Occurrence, *Error) {
	old := t.occurrence(c.Task, c.Due)
	switch {
	case old == nil && task.Paused:
		return nil, refuse(CodeState, "task %s is paused", c.Task)
	case old == nil && c.Due <= task.Cursor:
		return nil, refuse(CodeConflict, "task %s: due times up to %s have their records already", c.Task, task.Cursor.Time().Format(time.RFC3339Nano))
	case old == nil && c.Due > t.now:
		return nil, refuse(CodeState, "task %s is not due yet", c.Task)
	case old == nil && c.Attempt != 1:
		return nil, refuse(CodeConflict, "task %s: attempt %d of an occurrence that had none", c.Task, c.Attempt)
	case old == nil:
		return &Occurrence{Meta: t.fresh(), Task: c.Task, Due: c.Due, Created: t.now}, nil
	case old.State != OccurrencePending || old.Attempt+1 != c.Attempt:
		return nil, refuse(CodeConflict, "task %s: the occurrence is %s at attempt %d", c.Task, old.State, old.Attempt)
	case t.now < old.Retry:
		return nil, refuse(CodeState, "task %s: the next attempt is not due yet", c.Task)
	}
	row := *old
	row.Modified = t.rev
	return &row, nil
}

// StartOccurrence is what a node commits before it launches the work.
type StartOccurrence struct {
	OccurrenceID
	Fence uint64
	Node  peer.ID
}

func (*StartOccurrence) kind() Kind { return KindStartOccurrence }

// Speaks implements Speaker.
func (c *StartOccurrence) Speaks() string { return string(c.Node) }

func (c *StartOccurrence) apply(t *tx) *Error {
	row, err := t.held(c.OccurrenceID, c.Fence, c.Node, OccurrenceClaimed)
	if err != nil {
		return err
	}
	row.State, row.Started, row.Renewed = OccurrenceStarted, t.now, t.now
	t.put(tableOccurrences, row)
	return nil
}

// RenewOccurrence keeps a started attempt's lease.
type RenewOccurrence struct {
	OccurrenceID
	Fence uint64
	Node  peer.ID
}

func (*RenewOccurrence) kind() Kind { return KindRenewOccurrence }

// Speaks implements Speaker.
func (c *RenewOccurrence) Speaks() string { return string(c.Node) }

func (c *RenewOccurrence) apply(t *tx) *Error {
	row, err := t.held(c.OccurrenceID, c.Fence, c.Node, OccurrenceStarted)
	if err != nil {
		return err
	}
	row.Renewed = t.now
	t.put(tableOccurrences, row)
	return nil
}

// FinishOccurrence records how a started attempt ended.
type FinishOccurrence struct {
	OccurrenceID
	Fence     uint64
	Node      peer.ID
	Succeeded bool
	Permanent bool // failed in a way that another attempt will not mend
	Rows      int64
	Took      time.Duration
	Error     string
	Output    string
}

func (*FinishOccurrence) kind() Kind { return KindFinishOccurrence }

// Speaks implements Speaker.
func (c *FinishOccurrence) Speaks() string { return string(c.Node) }

func (c *FinishOccurrence) apply(t *tx) *Error {
	row, err := t.held(c.OccurrenceID, c.Fence, c.Node, OccurrenceStarted)
	if err != nil {
		return err
	}
	row.Rows, row.Took = c.Rows, c.Took
	row.Output = clip(c.Output, MaxOutputBytes)
	if c.Succeeded {
		t.end(row, OccurrenceSucceeded, "")
		return nil
	}
	t.again(row, OccurrenceFailed, clip(c.Error, MaxOutputBytes), c.Permanent)
	return nil
}

// LoseOccurrence declares a claim or an attempt lost. A started one can be
// declared lost only when its lease has run out by the leaders' clock.
type LoseOccurrence struct {
	OccurrenceID
	Fence  uint64
	Reason string
}

func (*LoseOccurrence) kind() Kind { return KindLoseOccurrence }

func (c *LoseOccurrence) apply(t *tx) *Error {
	old := t.occurrence(c.Task, c.Due)
	if old == nil {
		return noOccurrence(c.OccurrenceID)
	}
	running := old.State == OccurrenceClaimed || old.State == OccurrenceStarted
	if !running || old.Fence != c.Fence {
		return refuse(CodeConflict, "task %s: the occurrence is %s under fence %d", c.Task, old.State, old.Fence)
	}
	if old.State == OccurrenceStarted && t.now < old.Renewed.Add(LeaseLost) {
		return refuse(CodeState, "task %s: the attempt's lease has not run out", c.Task)
	}
	row := *old
	row.Modified = t.rev
	t.again(&row, OccurrenceLost, clip(c.Reason, MaxOutputBytes), false)
	return nil
}

// SkipOccurrence records that a due time was not run: missed because nobody could
// in time, or skipped because the one before was still running.
type SkipOccurrence struct {
	OccurrenceID
	State  OccurrenceState // OccurrenceMissed or OccurrenceSkipped
	Reason string
}

func (*SkipOccurrence) kind() Kind { return KindSkipOccurrence }

func (c *SkipOccurrence) apply(t *tx) *Error {
	if c.State != OccurrenceMissed && c.State != OccurrenceSkipped {
		return refuse(CodeInvalid, "an occurrence cannot be skipped as %q", clip(string(c.State), 32))
	}
	task := get[*Task](t.txn, tableTasks, c.Task)
	if task == nil {
		return noTask(c.Task)
	}
	old := t.occurrence(c.Task, c.Due)
	row := &Occurrence{Meta: t.fresh(), Task: c.Task, Due: c.Due, Created: t.now}
	switch {
	case old == nil && c.Due <= task.Cursor:
		return refuse(CodeConflict, "task %s: due times up to %s have their records already", c.Task, task.Cursor.Time().Format(time.RFC3339Nano))
	case old == nil && c.Due > t.now:
		return refuse(CodeState, "task %s is not due yet", c.Task)
	case old != nil && old.State != OccurrencePending:
		return refuse(CodeConflict, "task %s: the occurrence is %s", c.Task, old.State)
	case old != nil:
		cp := *old
		cp.Modified = t.rev
		row = &cp
	}
	t.end(row, c.State, clip(c.Reason, MaxOutputBytes))
	t.moveCursor(task, row)
	return nil
}

// held returns a copy of the row if the node holds it under the fence in the
// given state.
func (t *tx) held(id OccurrenceID, fence uint64, node peer.ID, state OccurrenceState) (*Occurrence, *Error) {
	old := t.occurrence(id.Task, id.Due)
	if old == nil {
		return nil, noOccurrence(id)
	}
	if old.State != state || old.Fence != fence || old.Node != node {
		return nil, refuse(CodeConflict, "task %s: the occurrence is %s under fence %d, not %s under fence %d", id.Task, old.State, old.Fence, state, fence)
	}
	row := *old
	row.Modified = t.rev
	return &row, nil
}

// again ends an attempt: the occurrence waits for its next one, or ends as state
// when none is left.
func (t *tx) again(row *Occurrence, state OccurrenceState, why string, permanent bool) {
	task := get[*Task](t.txn, tableTasks, row.Task)
	if permanent || task == nil || row.Attempt >= task.Attempts {
		t.end(row, state, why)
		return
	}
	row.History = append(slices.Clone(row.History), Attempt{
		Number: row.Attempt, Node: row.Node, Fence: row.Fence, Started: row.Started, Ended: t.now, State: state, Error: clip(why, 256),
	})
	pause := min(retryBase<<min(row.Attempt-1, 16), retryMax)
	row.State, row.Error, row.Retry = OccurrencePending, why, t.now.Add(pause)
	t.put(tableOccurrences, row)
}

// end makes the occurrence terminal and evicts the oldest beyond the history kept.
func (t *tx) end(o *Occurrence, state OccurrenceState, why string) {
	row := *o
	row.Modified, row.State, row.Error, row.Ended = t.rev, state, why, t.now
	t.put(tableOccurrences, &row)
	t.trimHistory(row.Task)
}

func (t *tx) trimHistory(task string) {
	keep := t.settingInt("scheduler.history")
	var ended []*Occurrence
	for _, o := range occurrencesOf(t.txn, task) {
		if o.State.Terminal() {
			ended = append(ended, o)
		}
	}
	for i := range len(ended) - keep { // oldest first
		t.del(tableOccurrences, ended[i])
		t.evict(Evicted{Occurrence: ended[i]})
	}
}

func (t *tx) moveCursor(task *Task, o *Occurrence) {
	if o.Manual || o.Due <= task.Cursor {
		return
	}
	row := *task // the schedule's progress is no change that If should notice
	row.Cursor = o.Due
	t.put(tableTasks, &row)
}

func noOccurrence(id OccurrenceID) *Error {
	return refuse(CodeNotFound, "task %s has no occurrence due %s", clip(id.Task, 64), id.Due.Time().Format(time.RFC3339Nano))
}

// String is "task@due".
func (o OccurrenceID) String() string {
	return fmt.Sprintf("%s@%s", o.Task, o.Due.Time().Format(time.RFC3339Nano))
}

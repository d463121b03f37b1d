package admin

import (
	"strconv"
	"strings"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// From rows of package fsm to JSON. Slices become [] rather than null, because
// programs index into them.

func rowOf(m fsm.Meta) Row {
	return Row{Etag: strconv.FormatUint(m.Modified, 10), Created: m.Created, Modified: m.Modified}
}

func (r Row) etag() string { return r.Etag }

func list[T any](in []T) []T {
	if in == nil {
		return []T{}
	}
	return in
}

// refOf names a node that may be gone.
func refOf(v fsm.View, id peer.ID) Ref {
	if n := v.Node(id); n != nil {
		return Ref{ID: id, Name: n.Name}
	}
	for _, r := range v.RemovedNodes() {
		if r.ID == id {
			return Ref{ID: id, Name: r.Name}
		}
	}
	return Ref{ID: id}
}

func refsOf(v fsm.View, ids []peer.ID) []Ref {
	out := make([]Ref, 0, len(ids))
	for _, id := range ids {
		out = append(out, refOf(v, id))
	}
	return out
}

func settingOf(v fsm.View, spec fsm.Spec) Setting {
	s := Setting{
		Key: spec.Key, Value: v.Text(spec.Key), Source: SourceDefault, Default: spec.Default,
		Type: string(spec.Type), Accepts: spec.Range(), Values: spec.Values, Help: spec.Help,
	}
	if row := v.SettingRow(spec.Key); row != nil {
		s.Row, s.Source, s.By, s.At = rowOf(row.Meta), SourceCluster, row.By, row.At.Time()
	}
	return s
}

func auditOf(v fsm.View, a *fsm.Audit) Audit {
	return Audit{
		Revision: a.Revision, At: a.At.Time(), Actor: a.Actor, Via: refOf(v, a.Via),
		Action: a.Action, Target: a.Target, Detail: a.Detail, Code: string(a.Code),
	}
}

func tokenOf(t *fsm.Token, now time.Time) Token {
	state := TokenValid
	switch {
	case t.Revoked != 0:
		state = TokenRevoked
	case !usableToken(t, now):
		state = TokenExpired
	}
	return Token{
		Row: rowOf(t.Meta), ID: t.ID, Name: t.Name, Role: string(t.Role), State: state,
		Expires: t.Expires.Time(), Revoked: t.Revoked.Time(), By: t.By, Born: t.Born.Time(),
	}
}

func joinTokenOf(t *fsm.JoinToken, now time.Time) JoinToken {
	state := TokenValid
	switch {
	case t.Revoked != 0:
		state = TokenRevoked
	case len(t.UsedBy) >= t.Uses:
		state = TokenUsedUp
	case t.Expires != 0 && fsm.StampOf(now) >= t.Expires:
		state = TokenExpired
	}
	return JoinToken{
		Row: rowOf(t.Meta), ID: t.ID, State: state, Uses: t.Uses, Used: len(t.UsedBy), Expires: t.Expires.Time(),
		Revoked: t.Revoked.Time(), Replace: t.Replace, By: t.By, Born: t.Born.Time(),
	}
}

// occurrenceID is how the API names an occurrence: TASK@DUE. Task names hold no @.
func occurrenceID(id fsm.OccurrenceID) string { return id.String() }

func parseOccurrenceID(s string) (fsm.OccurrenceID, bool) {
	task, due, ok := strings.Cut(s, "@")
	t, err := time.Parse(time.RFC3339Nano, due)
	if !ok || err != nil || !peer.ValidName(task) || t.Year() < 1970 || t.Year() > 2200 {
		return fsm.OccurrenceID{}, false
	}
	return fsm.OccurrenceID{Task: task, Due: fsm.StampOf(t)}, true
}

func occurrenceOf(v fsm.View, o *fsm.Occurrence) Occurrence {
	out := Occurrence{
		Row: rowOf(o.Meta), ID: occurrenceID(fsm.OccurrenceID{Task: o.Task, Due: o.Due}),
		Task: o.Task, Due: o.Due.Time(), Manual: o.Manual, State: string(o.State), Attempt: o.Attempt,
		Fence: o.Fence, Engine: o.Engine, Asked: o.Created.Time(), Claimed: o.Claimed.Time(),
		Started: o.Started.Time(), Renewed: o.Renewed.Time(), Ended: o.Ended.Time(), Retry: o.Retry.Time(),
		Rows: o.Rows, Took: Duration(o.Took), Error: o.Error, Output: o.Output,
	}
	if o.Node != "" {
		ref := refOf(v, o.Node)
		out.Node = &ref
	}
	for _, a := range o.History {
		out.History = append(out.History, Attempt{
			Number: a.Number, Node: a.Node, Fence: a.Fence, Started: a.Started.Time(), Ended: a.Ended.Time(),
			State: string(a.State), Error: a.Error,
		})
	}
	return out
}

// SpecOf is what an operator has said of a task.
func SpecOf(t *fsm.Task) TaskSpec {
	return TaskSpec{
		Document: t.Document, Engine: t.Engine, Tag: t.Tag, Cron: t.Cron, Every: Duration(t.Every), Zone: t.Zone,
		Start: t.Start.Time(), Attempts: t.Attempts, Timeout: Duration(t.Timeout), CatchUp: Duration(t.CatchUp),
	}
}

// taskOf shows a task with its n next due times.
func (c *call) taskOf(v fsm.View, t *fsm.Task, n int) Task {
	out := Task{
		Row: rowOf(t.Meta), Name: t.Name,
		TaskSpec: SpecOf(t),
		Paused:   t.Paused, Reason: t.Reason, By: t.By, Next: []time.Time{},
	}
	if !t.Paused {
		after := c.now()
		if cursor := t.Cursor.Time(); cursor.After(after) {
			after = cursor
		}
		out.Next = list(c.s.cfg.NextDue(*t, after, n))
	}
	all := v.Occurrences(t.Name)
	for _, o := range all {
		if !o.State.Terminal() {
			out.Open++
		}
	}
	if len(all) > 0 {
		last := occurrenceOf(v, all[len(all)-1])
		out.Last = &last
	}
	return out
}

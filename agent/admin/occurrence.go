package admin

import (
	"slices"
	"strconv"
	"strings"

	"github.com/ushercluster/usher/fsm"
)

// stateOpen selects the occurrences that are not terminal.
const stateOpen = "open"

func listOccurrences(c *call) (List[Occurrence], error) { return c.occurrences(c.param("task")) }

func listTaskOccurrences(c *call) (List[Occurrence], error) {
	return c.occurrences(c.r.PathValue("name"))
}

// occurrences lists those of one task, or of all, latest due first.
func (c *call) occurrences(task string) (List[Occurrence], error) {
	w, err := c.window()
	if err != nil {
		return List[Occurrence]{}, err
	}
	state := c.param("state")
	if !validOccurrenceState(state) {
		return List[Occurrence]{}, invalidParameter("state", state, "use open or one of pending, claimed, started, succeeded, failed, lost, missed, skipped")
	}
	v, err := c.read()
	if err != nil {
		return List[Occurrence]{}, err
	}
	if task != "" && v.Task(task) == nil && len(v.Occurrences(task)) == 0 {
		return List[Occurrence]{}, notFound("there is no task %q", clip(task, 64))
	}
	rows := occurrenceRows(v, task, state)
	return listOf(w, rows, occurrenceKey, func(o *fsm.Occurrence) Occurrence { return occurrenceOf(v, o) }), nil
}

func validOccurrenceState(s string) bool {
	switch fsm.OccurrenceState(s) {
	case "", stateOpen, fsm.OccurrencePending, fsm.OccurrenceClaimed, fsm.OccurrenceStarted, fsm.OccurrenceSucceeded,
		fsm.OccurrenceFailed, fsm.OccurrenceLost, fsm.OccurrenceMissed, fsm.OccurrenceSkipped:
		return true
	}
	return false
}

func occurrenceRows(v fsm.View, task, state string) []*fsm.Occurrence {
	var rows []*fsm.Occurrence
	switch {
	case task != "":
		rows = v.Occurrences(task)
	case state == stateOpen:
		rows = v.OpenOccurrences()
	default:
		for _, t := range v.Tasks() {
			rows = append(rows, v.Occurrences(t.Name)...)
		}
	}
	rows = slices.DeleteFunc(rows, func(o *fsm.Occurrence) bool {
		return state == stateOpen && o.State.Terminal() || state != "" && state != stateOpen && string(o.State) != state
	})
	slices.SortFunc(rows, func(a, b *fsm.Occurrence) int { return strings.Compare(occurrenceKey(a), occurrenceKey(b)) })
	return rows
}

// occurrenceKey sorts the latest due time first: it counts down.
func occurrenceKey(o *fsm.Occurrence) string {
	down := strconv.FormatUint(1<<63-uint64(max(0, o.Due)), 10)
	return strings.Repeat("0", 20-len(down)) + down + "@" + o.Task
}

func showOccurrence(c *call) (Occurrence, error) {
	id, ok := parseOccurrenceID(c.r.PathValue("id"))
	if !ok {
		return Occurrence{}, malformed("the ID of an occurrence is TASK@DUE", "as in sales@2026-01-31T06:00:00Z")
	}
	v, err := c.read()
	if err != nil {
		return Occurrence{}, err
	}
	row := v.Occurrence(id)
	if row == nil {
		return Occurrence{}, notFound("task %s has no occurrence due then", id.Task)
	}
	return occurrenceOf(v, row), nil
}

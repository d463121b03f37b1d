package admin

import (
	"strconv"

	"github.com/ushercluster/usher/fsm"
)

func listAudit(c *call) (List[Audit], error) {
	action, actor, target := c.param("action"), c.param("actor"), c.param("target")
	return c.auditPage(func(a *fsm.Audit) bool {
		return (action == "" || a.Action == action) && (actor == "" || a.Actor == actor) && (target == "" || a.Target == target)
	})
}

// auditPage lists the audit rows that match, newest first. The cursor is the
// revision that the page before ended with.
func (c *call) auditPage(match func(*fsm.Audit) bool) (List[Audit], error) {
	w, err := c.window()
	if err != nil {
		return List[Audit]{}, err
	}
	before := ^uint64(0)
	if w.begun {
		if before, err = strconv.ParseUint(w.after, 10, 64); err != nil {
			return List[Audit]{}, invalidParameter("cursor", c.param("cursor"), "use next of the page before, as it is")
		}
	}
	v, err := c.read()
	if err != nil {
		return List[Audit]{}, err
	}
	rows, more := newest(v, before, w.limit, match)
	out := List[Audit]{Items: make([]Audit, 0, len(rows))}
	for _, a := range rows {
		out.Items = append(out.Items, auditOf(v, a))
	}
	if more {
		out.Next = cursorOf(strconv.FormatUint(rows[len(rows)-1].Revision, 10))
	}
	return out, nil
}

// newest are the last rows below a revision that match, newest first.
func newest(v fsm.View, before uint64, limit int, match func(*fsm.Audit) bool) (rows []*fsm.Audit, more bool) {
	for a := range v.AuditBefore(before) {
		if !match(a) {
			continue
		}
		if len(rows) == limit {
			return rows, true
		}
		rows = append(rows, a)
	}
	return rows, false
}

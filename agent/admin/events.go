package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/ushercluster/usher/fsm"
)

// Pace of the event streams.
const (
	// eventPace gathers changes that follow each other into one event.
	eventPace = 200 * time.Millisecond
	// heartbeat keeps proxies from ending a quiet stream, and notices a caller who
	// has gone or whose token has ended.
	heartbeat = 15 * time.Second

	eventTimeout = 10 * time.Second // of one write
)

// EventTables are the tables that an Event can name.
func EventTables() []string {
	return []string{"cluster", "settings", "nodes", "join_tokens", "tokens", "tasks", "occurrences", "audit"}
}

// streamEvents tells of changes until the caller goes, the token ends, or the
// server stops. An event's ID is the revision that it leads to. Whoever comes back
// with an older one is told to look at everything: which tables have changed since
// then is no longer known, and to name too many does no harm.
func streamEvents(c *call) {
	after, resumed, err := lastEventID(c.r)
	if err != nil {
		c.fail(err)
		return
	}
	select {
	case c.s.streams <- struct{}{}:
		defer func() { <-c.s.streams }()
	default:
		c.fail(retry(problem(http.StatusServiceUnavailable, CodeTooMany, "too many streams of events are open", "close some, or ask another node")))
		return
	}
	c.s.stats.streams.Inc()
	defer c.s.stats.streams.Dec()
	v := c.s.cfg.Backend.View()
	c.show(v)
	st := newStream(c)
	if resumed && after != v.Revision() {
		st.event(Event{Revision: v.Revision(), Tables: EventTables()})
	}
	st.follow(v)
}

func lastEventID(r *http.Request) (after uint64, given bool, err error) {
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		return 0, false, nil
	}
	if after, err = strconv.ParseUint(id, 10, 64); err != nil {
		return 0, false, malformed("Last-Event-ID is no revision", "send the id of the last event that you have seen")
	}
	return after, true, nil
}

// stream is one caller's stream. A write that failed ends it.
type stream struct {
	c   *call
	rc  *http.ResponseController
	err error
}

func newStream(c *call) *stream {
	st := &stream{c: c, rc: http.NewResponseController(c.w)}
	c.head("text/event-stream")
	c.w.Header().Set("X-Accel-Buffering", "no")
	c.w.WriteHeader(http.StatusOK)
	st.write(": usher\n\n")
	return st
}

func (st *stream) write(text string) {
	if st.err != nil {
		return
	}
	_ = st.rc.SetWriteDeadline(time.Now().Add(eventTimeout))
	if _, st.err = st.c.w.Write([]byte(text)); st.err == nil {
		st.err = st.rc.Flush()
	}
}

func (st *stream) event(e Event) {
	b, err := json.Marshal(e)
	if err != nil {
		st.err = err
		return
	}
	st.write(fmt.Sprintf("id: %d\nevent: change\ndata: %s\n\n", e.Revision, b))
}

func (st *stream) follow(v fsm.View) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for st.err == nil {
		select {
		case <-v.Newer():
			if !st.pause() {
				return
			}
			v = st.news(v)
		case <-beat.C:
			st.write(": still here\n\n")
		case <-st.c.stopping():
			return
		case <-st.c.ctx.Done():
			return
		}
		if st.c.who.stillIn(v, st.c.now()) != nil {
			return
		}
	}
}

// news tells what has changed since v, and returns the state as it is now.
func (st *stream) news(v fsm.View) fsm.View {
	now := st.c.s.cfg.Backend.View()
	if tables := changed(v, now); len(tables) > 0 && st.c.who.stillIn(now, st.c.now()) == nil {
		st.event(Event{Revision: now.Revision(), Tables: tables, Since: v.Revision()})
	}
	return now
}

func (st *stream) pause() bool {
	t := time.NewTimer(eventPace)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-st.c.stopping():
	case <-st.c.ctx.Done():
	}
	return false
}

// changed are the tables in which two states differ. Revisions only grow, so a
// table that has as many rows and the same newest one is the same. Ended
// occurrences need no look: they were open before, or moved their task's cursor.
func changed(old, now fsm.View) []string {
	if old.Revision() == now.Revision() {
		return nil
	}
	a, b := marksOf(old), marksOf(now)
	var out []string
	for _, t := range EventTables() {
		if a[t] != b[t] {
			out = append(out, t)
		}
	}
	return out
}

// mark stands for the content of a table.
type mark struct {
	rows    int
	newest  uint64
	cursors fsm.Stamp
}

func (m *mark) row(meta fsm.Meta) {
	m.rows++
	m.newest = max(m.newest, meta.Modified)
}

func marksOf(v fsm.View) map[string]mark {
	var cluster, settings, nodes, joins, tokens, tasks, occurrences, audit mark
	if c := v.Cluster(); c != nil {
		cluster.row(c.Meta)
	}
	for _, r := range v.SettingRows() {
		settings.row(r.Meta)
	}
	for _, r := range v.Nodes() {
		nodes.row(r.Meta)
	}
	for _, r := range v.JoinTokens() {
		joins.row(r.Meta)
	}
	for _, r := range v.Tokens() {
		tokens.row(r.Meta)
	}
	for _, r := range v.Tasks() {
		tasks.row(r.Meta)
		occurrences.cursors += r.Cursor // each only grows, and so does the sum, but when tasks go
	}
	for _, r := range v.OpenOccurrences() {
		occurrences.row(r.Meta)
	}
	audit.newest = newestAudit(v)
	return map[string]mark{
		"cluster": cluster, "settings": settings, "nodes": nodes, "join_tokens": joins, "tokens": tokens,
		"tasks": tasks, "occurrences": occurrences, "audit": audit,
	}
}

// newestAudit looks for the last audit row from the end, in growing steps, because
// the table is read forwards only.
func newestAudit(v fsm.View) uint64 {
	for step := uint64(64); ; step *= 8 {
		from := uint64(0)
		if v.Revision() > step {
			from = v.Revision() - step
		}
		last := uint64(0)
		for a := range v.Audit(from) {
			last = a.Revision
		}
		if last > 0 || from == 0 {
			return last
		}
	}
}

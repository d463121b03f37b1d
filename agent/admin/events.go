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

type toldTable struct {
	name string
	set  fsm.Tables
}

func told() []toldTable {
	return []toldTable{
		{"cluster", fsm.InCluster}, {"settings", fsm.InSettings}, {"nodes", fsm.InNodes}, {"join_tokens", fsm.InJoinTokens},
		{"tokens", fsm.InTokens}, {"tasks", fsm.InTasks}, {"occurrences", fsm.InOccurrences}, {"audit", fsm.InAudit},
	}
}

// EventTables are the tables that an Event can name.
func EventTables() []string {
	var out []string
	for _, t := range told() {
		out = append(out, t.name)
	}
	return out
}

func eventTables() (all fsm.Tables) {
	for _, t := range told() {
		all |= t.set
	}
	return all
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
	default:
		c.fail(retry(problem(http.StatusServiceUnavailable, CodeTooMany, "too many streams of events are open", "close some, or ask another node")))
		return
	}
	c.s.stats.streams.Inc()
	c.release = func() {
		c.s.stats.streams.Dec()
		<-c.s.streams
	}
	v := c.s.cfg.Backend.View()
	c.show(v)
	st := newStream(c)
	if resumed && after != v.Revision() {
		st.event(Event{Revision: v.Revision(), Tables: EventTables()})
	}
	c.view, c.shown = fsm.View{}, false // an old state would be kept in memory
	st.after = v.Revision()
	if c.follow = st.follow; c.spot == nil {
		st.follow(c)
	}
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
	c     *call
	after uint64 // what has been told up to
	err   error
}

func newStream(c *call) *stream {
	st := &stream{c: c}
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
	rc := http.NewResponseController(st.c.w)
	_ = rc.SetWriteDeadline(time.Now().Add(eventTimeout))
	if _, st.err = st.c.w.Write([]byte(text)); st.err == nil {
		st.err = rc.Flush()
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

// follow tells what changes, until the stream ends. It uses little of the stack while it
// waits: on the lot, that is most of what a stream takes.
func (st *stream) follow(c *call) {
	for beat := time.Now().Add(heartbeat); ; {
		woke := c.sleep(eventTables(), st.after, time.Until(beat))
		if woke == wokeByNews {
			woke = c.sleep(0, 0, st.pace())
			if woke == wokeByTime {
				woke = wokeByNews
			}
		}
		if !st.tell(woke) {
			return
		}
		if woke == wokeByTime {
			beat = time.Now().Add(heartbeat)
		}
	}
}

// tell writes what a wakeup asks for; false when the stream ends.
func (st *stream) tell(woke wakeup) bool {
	c := st.c
	v := c.s.cfg.Backend.View()
	switch woke {
	case wokeByNews:
		if c.who.stillIn(v, c.now()) == nil {
			st.news(v)
		}
	case wokeByTime:
		st.write(": still here\n\n")
	default:
		return false
	}
	return st.err == nil && c.who.stillIn(v, c.now()) == nil
}

// pace is for how long changes are gathered. With many streams it grows, because each
// event costs the node about a tenth of a millisecond for each of them.
func (st *stream) pace() time.Duration {
	return eventPace + time.Duration(len(st.c.s.streams))*100*time.Microsecond
}

// news tells what has changed up to now.
func (st *stream) news(now fsm.View) {
	if tables := changed(st.after, now); len(tables) > 0 {
		st.event(Event{Revision: now.Revision(), Tables: tables, Since: st.after})
	}
	st.after = now.Revision()
}

// changed are the tables in which a row was made, changed or removed after a revision.
func changed(after uint64, now fsm.View) []string {
	var out []string
	for _, t := range told() {
		if now.Touched(t.set) > after {
			out = append(out, t.name)
		}
	}
	return out
}

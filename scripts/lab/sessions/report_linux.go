package sessions

import (
	"fmt"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

func (m *measurement) tables() []bench.Table {
	var out []bench.Table
	if len(m.moved) > 0 {
		out = append(out, m.timeTable(), m.failureTable())
	}
	if m.kept != nil {
		out = append(out, m.keptTable())
	}
	return out
}

// timeTable says when the sessions of the lost node were served elsewhere.
func (m *measurement) timeTable() bench.Table {
	t := bench.Table{Left: 1, Head: []string{"node", "its sessions", "moved", "served elsewhere after, 50 %", "99 %", "last", "user at its own door, 50 %", "99 %", "last", "waited from own try, 50 %", "99 %", "last"}}
	for _, r := range m.moved {
		row := []string{r.what, fmt.Sprint(r.Owned), fmt.Sprint(r.Moved.Moved)}
		for _, all := range [][]time.Duration{r.Elsewhere, r.AtItsDoor, r.Waited} {
			for _, p := range []float64{0.5, 0.99, 1} {
				row = append(row, seconds(bench.Percentile(all, p)))
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func (m *measurement) failureTable() bench.Table {
	t := bench.Table{Left: 1, Head: []string{"node", "sessions", "failed on the wire to it", "failed at its door", "failed otherwise", "WebSockets broken", "in use again", "others' sessions touched"}}
	for _, r := range m.moved {
		t.Rows = append(t.Rows, []string{r.what, fmt.Sprint(r.Sessions), fmt.Sprint(r.OnWire), fmt.Sprint(r.ByDoor), fmt.Sprint(r.Failed), fmt.Sprint(r.Sockets), fmt.Sprint(r.Opened), fmt.Sprint(r.Touched)})
	}
	return t
}

func (m *measurement) keptTable() bench.Table {
	k := m.kept
	return bench.Table{Left: 1, Head: []string{"two of three killed, for", "sessions of the third", "requests and messages at its door", "failed", "sessions that left it", "sessions taken over"}, Rows: [][]string{
		{k.lasted.Round(time.Second).String(), fmt.Sprint(k.Sessions), fmt.Sprint(k.Asked), fmt.Sprint(k.Failed), fmt.Sprint(k.Left), fmt.Sprint(k.Taken)},
	}}
}

func seconds(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// facts are what the figures depend on.
func (m *measurement) facts() []string {
	return []string{
		fmt.Sprintf("%d nodes, of which one that does not lead is lost; %d sessions, every %dth with a WebSocket; a request or message of each every %s, up to a quarter more or less", nodes, m.sessions, socketShare, m.every),
		"served elsewhere after: from the loss, so with the time until a session asks again; a user at the lost node's own door gives a try up after 5 s and goes to another door",
		"failed on the wire to it: within 100 ms of a kill, or 2 s of another loss; failed otherwise: all that nothing of this excuses",
	}
}

// goalOfMoves is until when all sessions of a lost node are to be served elsewhere.
const goalOfMoves = 2 * time.Second

func (m *measurement) goals() []bench.Goal {
	var out []bench.Goal
	for _, r := range m.moved {
		out = append(out, r.goals()...)
	}
	if m.kept != nil {
		out = append(out, m.kept.goals(2*m.every)...)
	}
	return out
}

// goals allow for the pause between two requests.
func (k *kept) goals(pause time.Duration) []bench.Goal {
	share := 0.0
	if k.Asked > 0 {
		share = 100 * float64(k.Asked-k.Failed) / float64(k.Asked)
	}
	return []bench.Goal{
		{Name: "without a quorum: served", Unit: " %", Value: share, Limit: 100, AtLeast: true, Note: fmt.Sprintf("of %d, for %s", k.Asked, k.lasted.Round(time.Second))},
		{Name: "without a quorum: the last answer came after", Unit: " s", Value: k.until.Seconds(), Limit: (k.lasted - pause).Seconds(), AtLeast: true},
		{Name: "without a quorum: sessions that left", Value: float64(k.Left), Note: fmt.Sprintf("of %d", k.Sessions)},
	}
}

func (r moved) goals() []bench.Goal {
	last := bench.Percentile(r.Elsewhere, 1)
	return []bench.Goal{
		{Name: r.what + ": last session served elsewhere", Unit: " s", Value: last.Seconds(), Limit: goalOfMoves.Seconds(), Note: fmt.Sprintf("of %d whose users were at other doors", len(r.Elsewhere))},
		{Name: r.what + ": sessions that were not served again", Value: float64(r.Owned - r.Moved.Moved), Note: fmt.Sprintf("of %d", r.Owned)},
		{Name: r.what + ": failed otherwise", Value: float64(r.Failed)},
		{Name: r.what + ": others' sessions touched", Value: float64(r.Touched), Note: fmt.Sprintf("of %d", r.Sessions-r.Owned)},
	}
}

// wrong reports whether a goal of one loss was missed: then its history is worth keeping.
func (m *measurement) wrong(what string) bool {
	if what == noQuorum {
		return m.kept == nil || bench.Judge(m.kept.goals(2*m.every)) != nil
	}
	for _, r := range m.moved {
		if r.what == what {
			return bench.Judge(r.goals()) != nil
		}
	}
	return true
}

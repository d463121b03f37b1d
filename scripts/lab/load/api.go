package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/scripts/lab/history"
)

// asker is a client of admin APIs: one goroutine's.
type asker struct {
	l     *Load
	id    int
	rng   *rand.Rand
	route route
	wires []*wire // by node; nil: not used yet
}

func (l *Load) newAsker(id int) *asker {
	return &asker{l: l, id: id, rng: l.rng(id), route: newRoute(len(l.cfg.Nodes), id), wires: make([]*wire, len(l.cfg.Nodes))}
}

func (a *asker) close() {
	for _, w := range a.wires {
		if w != nil {
			w.close()
		}
	}
}

// ask makes one try at a node and fills in when, where and how it ended.
func (a *asker) ask(op *history.Op, node int, method, path, body string, fields ...field) answer {
	n := a.l.cfg.Nodes[node]
	op.Client, op.Node = a.id, n.Name
	op.Begin = a.l.cfg.Rec.Now()
	got, err := a.exchange(n, node, method, path, body, fields)
	op.End = a.l.cfg.Rec.Now()
	op.Outcome, op.Detail = outcome(got, err)
	return got
}

func (a *asker) exchange(n Node, node int, method, path, body string, fields []field) (answer, error) {
	w := a.wires[node]
	if w == nil {
		var err error
		if w, err = newWire(n.API, a.l.pace.Patience, a.l.buffers); err != nil {
			return answer{}, fmt.Errorf("%w: %w", errNotSent, err)
		}
		a.wires[node] = w
	}
	if n.Token != "" {
		fields = append(fields, field{"Authorization", "Bearer " + n.Token})
	}
	return w.do(a.l.cut, method, w.request(method, path, body, fields...))
}

// outcome is what a client may conclude from an answer of the admin API. Of its problems,
// those that deny, find fault with the request or its precondition, busy, and no_quorum that
// does not add that it may be done say that nothing was. All others may come after the command
// was sent, closing too, and behind comes after it was carried out.
func outcome(a answer, err error) (history.Outcome, string) {
	switch {
	case errors.Is(err, errNotSent):
		return history.Refused, err.Error()
	case err != nil:
		return history.Unknown, err.Error()
	case a.status == http.StatusOK || a.status == http.StatusCreated:
		return history.OK, ""
	case a.status == http.StatusPreconditionFailed:
		return history.Refused, history.Precondition
	}
	var p admin.Problem
	if err := json.Unmarshal(a.body, &p); err != nil {
		return history.Unknown, fmt.Sprintf("answered %d without a problem document", a.status)
	}
	detail := fmt.Sprintf("%d %s: %s", a.status, p.Code, p.Detail)
	if a.status < 500 || p.Code == admin.CodeBusy || p.Code == admin.CodeNoQuorum && !p.MaybeDone {
		return history.Refused, detail
	}
	return history.Unknown, detail
}

// row is what an answer shows of a setting.
type row struct {
	Key      string `json:"key"`
	Value    string `json:"value"`
	Modified uint64 `json:"modified"`
}

// rowOf reads the answer of an operation that was acknowledged. If it is not about the key,
// the outcome becomes unknown: somebody else answered.
func rowOf(op *history.Op, a answer) (row, bool) {
	var r row
	if op.Outcome != history.OK {
		return r, false
	}
	index, err := strconv.ParseUint(a.header.Get("X-Usher-Index"), 10, 64)
	if err == nil {
		err = json.Unmarshal(a.body, &r)
	}
	if err != nil || r.Key != op.Key || r.Value == "" {
		op.Outcome, op.Detail = history.Unknown, fmt.Sprintf("the answer is not about %s", op.Key)
		return r, false
	}
	op.Index = index
	return r, true
}

// read makes one read of a setting.
func (a *asker) read(key string, node int, stale bool) (row, bool) {
	op := history.Op{Kind: history.Read, Key: key}
	path := "/v1/settings/" + key
	if stale {
		op.Kind, path = history.StaleRead, path+"?stale"
	}
	got := a.ask(&op, node, http.MethodGet, path, "")
	r, ok := rowOf(&op, got)
	if ok {
		op.Value, op.Revision, op.Stale = r.Value, r.Modified, got.header.Get("X-Usher-Stale") == "true"
	}
	a.l.record(op)
	return r, ok
}

// write makes one write of a setting; expected is the revision of the row that it changes, 0
// for any. It reports whether the client may go on with this node.
func (a *asker) write(key, value string, node int, expected uint64) (answered bool) {
	op := history.Op{Kind: history.Write, Key: key, Value: value, Expected: expected}
	match := ""
	if expected != 0 {
		op.Kind, match = history.CompareAndSet, `"`+strconv.FormatUint(expected, 10)+`"`
	}
	got := a.ask(&op, node, http.MethodPut, "/v1/settings/"+key, `{"value":"`+value+`"}`, field{"If-Match", match})
	r, ok := rowOf(&op, got)
	if !ok {
		a.l.record(op)
		return op.Detail == history.Precondition
	}
	shown := op.Index
	op.Index = r.Modified
	if r.Value == value {
		op.Revision = r.Modified
		a.l.record(op)
		return true
	}
	// Another write came in between: the answer shows that one, which is a read.
	a.l.record(op)
	a.l.record(history.Op{
		Client: a.id, Kind: history.Read, Node: op.Node, Key: key, Value: r.Value, Revision: r.Modified, Index: shown,
		Begin: op.Begin, End: op.End, Outcome: history.OK, Detail: "shown by the answer to a write",
	})
	return true
}

// again moves on to another node after a try that failed, and waits; it reports whether to
// go on.
func (a *asker) again(answered bool) bool {
	if answered {
		a.route.worked()
		return true
	}
	return a.l.sleep(a.rng, a.route.failed(a.l.cfg.Rec.Now()))
}

package sim

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ushercluster/usher/fsm"
)

// kind is what a client did.
type kind string

const (
	opWrite kind = "write" // also compare-and-set
	opRead  kind = "read"  // linearizable
	opStale kind = "stale"
)

// outcome is what a client was told.
type outcome string

const (
	acked   outcome = "acked"
	refused outcome = "refused" // by the state: it is in the log
	never   outcome = "never"   // certainly not carried out
	unknown outcome = "unknown"
)

// op is one operation of a client.
type op struct {
	client     int
	node       string
	kind       kind
	start, end uint64 // in the order in which things were begun and answered
	outcome    outcome
	revision   uint64 // of the write, or of the state that was read

	id   fsm.CommandID // of a write
	key  string
	code fsm.Code
	rows []row // of a read, by keys()
}

func (o op) String() string {
	s := fmt.Sprintf("client %d, %s at %s", o.client, o.kind, o.node)
	if o.kind == opWrite {
		s += fmt.Sprintf(" of %s, command %x", o.key, o.id[:4])
	}
	return s + fmt.Sprintf(": %s, revision %d %s", o.outcome, o.revision, o.code)
}

// history is what all clients did. Safe for concurrent use.
type history struct {
	clock atomic.Uint64
	mu    sync.Mutex
	ops   []op
}

// tick orders beginnings and ends.
func (h *history) tick() uint64 { return h.clock.Add(1) }

func (h *history) add(o op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, o)
}

// count is how many operations had an outcome.
func (h *history) count(k kind, out outcome) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.ops {
		if o.kind == k && o.outcome == out {
			n++
		}
	}
	return n
}

// check holds what clients were told against what was committed. All commands go through
// one log and take its revisions, so the order that linearizability asks for is known:
// it is that of the revisions, and need not be searched for.
func (t *truth) check(ops []op) (faults []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range ops {
		var err error
		if o.kind == opWrite {
			err = t.checkWrite(o)
		} else if o.outcome == acked {
			err = t.checkRead(o)
		}
		if err != nil {
			faults = append(faults, fmt.Sprintf("%s: %v", o, err))
		}
	}
	return append(faults, realTime(ops)...)
}

func (t *truth) checkWrite(o op) error {
	rev, there := t.ids[o.id]
	code := t.commands[rev].code
	switch {
	case o.outcome == acked && (!there || rev != o.revision || code != ""):
		return fmt.Errorf("an acknowledged write is lost: the log has it %t, at revision %d, %q", there, rev, code)
	case o.outcome == refused && (!there || code != o.code):
		return fmt.Errorf("a refused write: the log has it %t, at revision %d, %q", there, rev, code)
	case o.outcome == never && there:
		return fmt.Errorf("was said not to be carried out, and is at revision %d", rev)
	}
	return nil
}

func (t *truth) checkRead(o op) error {
	if o.revision > t.oracle.View().Revision() {
		return fmt.Errorf("shows a revision that was never committed")
	}
	for i, key := range keys() {
		if want := t.row(key, o.revision); o.rows[i] != want {
			return fmt.Errorf("shows %s = %+v, at that revision it is %+v", key, o.rows[i], want)
		}
	}
	return nil
}

// realTime checks that nothing is answered from before what was answered earlier: what
// began after an answer shows its revision or a later one, and what began after a write
// comes after it.
func realTime(ops []op) (faults []string) {
	type moment struct {
		at  uint64
		op  *op
		end bool
	}
	var all []moment
	for i := range ops {
		if o := &ops[i]; o.outcome == acked && o.kind != opStale {
			all = append(all, moment{o.start, o, false}, moment{o.end, o, true})
		}
	}
	slices.SortFunc(all, func(a, b moment) int { return cmpUint(a.at, b.at) })
	var newest op // of those that were answered
	floor := map[*op]op{}
	for _, m := range all {
		if !m.end {
			floor[m.op] = newest
			continue
		}
		before, o := floor[m.op], *m.op
		if o.revision < before.revision || o.kind == opWrite && before.kind != "" && o.revision == before.revision {
			faults = append(faults, fmt.Sprintf("%s: goes back behind what was answered before it began (%s)", o, before))
		}
		if o.revision > newest.revision {
			newest = o
		}
	}
	return faults
}

func cmdID(i byte) fsm.CommandID { return fsm.CommandID{i} }

// told is a truth of three writes to s1, at revisions 2, 3 and 5; 4 was refused.
func told(t *testing.T) *truth {
	t.Helper()
	tr := &truth{
		oracle: fsm.New(fsm.Options{}), ids: map[fsm.CommandID]uint64{}, commands: map[uint64]command{}, rows: map[string][]row{},
		bad: func(f string, a ...any) { t.Errorf(f, a...) },
	}
	for rev, code := range map[uint64]fsm.Code{2: "", 3: "", 4: fsm.CodeConflict, 5: ""} {
		tr.ids[cmdID(byte(rev))], tr.commands[rev] = rev, command{cmdID(byte(rev)), code}
	}
	tr.rows["s1"] = []row{{2, "a"}, {3, "b"}, {5, "c"}}
	var items []fsm.Item
	for i := range byte(5) {
		cmd, err := fsm.Encode(put("s1", "x", 0))
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, fsm.Item{ID: cmdID(i + 1), Command: cmd})
	}
	entry, err := fsm.EncodeEntry(fsm.Entry{Now: 1, Items: items})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.oracle.Apply(entry); err != nil { // it only lends its revision
		t.Fatal(err)
	}
	return tr
}

func TestCheckOfHistories(t *testing.T) {
	w := func(start, end uint64, id byte, out outcome, rev uint64) op {
		return op{kind: opWrite, start: start, end: end, id: cmdID(id), key: "s1", outcome: out, revision: rev}
	}
	r := func(k kind, start, end, rev uint64, s1 row) op {
		rows := make([]row, len(keys()))
		rows[slices.Index(keys(), "s1")] = s1
		return op{kind: k, start: start, end: end, outcome: acked, revision: rev, rows: rows}
	}
	conflict := w(1, 2, 4, refused, 0)
	conflict.code = fsm.CodeConflict
	wrong := conflict
	wrong.code = fsm.CodeInvalid
	for name, c := range map[string]struct {
		ops  []op
		want string // part of the fault; "" for none
	}{
		"one after the other":      {[]op{w(1, 2, 2, acked, 2), w(3, 4, 3, acked, 3), r(opRead, 5, 6, 3, row{3, "b"})}, ""},
		"at the same time":         {[]op{w(1, 4, 3, acked, 3), w(2, 3, 2, acked, 2), r(opRead, 2, 5, 2, row{2, "a"})}, ""},
		"acknowledged and lost":    {[]op{w(1, 2, 9, acked, 2)}, "lost"},
		"another revision":         {[]op{w(1, 2, 2, acked, 3)}, "lost"},
		"acknowledged but refused": {[]op{w(1, 2, 4, acked, 4)}, "lost"},
		"refused":                  {[]op{conflict}, ""},
		"refused for another":      {[]op{wrong}, "refused write"},
		"refused and not there":    {[]op{w(1, 2, 9, refused, 0)}, "refused write"},
		"never, and there":         {[]op{w(1, 2, 2, never, 0)}, "not to be carried out"},
		"never":                    {[]op{w(1, 2, 9, never, 0)}, ""},
		"unknown":                  {[]op{w(1, 2, 9, unknown, 0), w(1, 2, 2, unknown, 0)}, ""},
		"stale read":               {[]op{w(1, 2, 3, acked, 3), r(opStale, 3, 4, 2, row{2, "a"})}, ""},
		"linearizable, and stale":  {[]op{w(1, 2, 3, acked, 3), r(opRead, 3, 4, 2, row{2, "a"})}, "goes back"},
		"reads that go back":       {[]op{r(opRead, 1, 2, 5, row{5, "c"}), r(opRead, 3, 4, 3, row{3, "b"})}, "goes back"},
		"write before a read":      {[]op{r(opRead, 1, 2, 3, row{3, "b"}), w(3, 4, 3, acked, 3)}, "goes back"},
		"another value":            {[]op{r(opStale, 1, 2, 3, row{3, "c"})}, "shows s1"},
		"never committed":          {[]op{r(opStale, 1, 2, 7, row{5, "c"})}, "never committed"},
	} {
		got := told(t).check(c.ops)
		if c.want == "" && len(got) > 0 || c.want != "" && !strings.Contains(strings.Join(got, "\n"), c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

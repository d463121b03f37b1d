package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

func number(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }
func parse(b []byte) uint64  { return binary.BigEndian.Uint64(b) }

// truth is what the cluster has committed, put together from the logs of all nodes, and
// replayed by a state of its own and by a model of the keys that clients use. What it is
// told that cannot be so it reports to bad.
type truth struct {
	mu  sync.Mutex
	bad func(format string, args ...any)

	terms   []uint64               // of committed entries, by index; 0: not known yet
	entries map[position]*raft.Log // as first seen in any node's log
	applied uint64                 // index
	oracle  *fsm.FSM
	views   map[uint64]fsm.View // of the oracle, the last keepViews
	oldest  uint64              // revision in views

	commands map[uint64]command // by revision
	ids      map[fsm.CommandID]uint64
	values   map[string]uint64 // revision that wrote it
	rows     map[string][]row  // by key, in the order of revisions
	hashes   map[uint64]sight  // first one seen of a revision
	waiting  map[uint64]bool   // revisions in hashes that the oracle has not reached
	leaders  map[uint64]peer.ID
}

type position struct{ index, term uint64 }

// command is one that was carried out or refused.
type command struct {
	id   fsm.CommandID
	code fsm.Code
}

// row is what a key has from a revision on.
type row struct {
	modified uint64
	value    string
}

// sight is a state that somebody had.
type sight struct {
	hash string
	at   time.Time
	by   string
}

// keepViews is how many revisions a node may be behind and still be compared.
const keepViews = 4096

// newTruth begins with the state that the cluster was made with, which is a snapshot at
// index 1 in term 1.
func newTruth(initial []byte, bad func(string, ...any)) (*truth, error) {
	t := &truth{
		bad: bad, oracle: fsm.New(fsm.Options{}), views: map[uint64]fsm.View{},
		terms: []uint64{0, 1}, applied: 1, entries: map[position]*raft.Log{},
		commands: map[uint64]command{}, ids: map[fsm.CommandID]uint64{}, rows: map[string][]row{}, values: map[string]uint64{},
		hashes: map[uint64]sight{}, waiting: map[uint64]bool{}, leaders: map[uint64]peer.ID{},
	}
	if err := t.oracle.Restore(bytes.NewReader(initial)); err != nil {
		return nil, fmt.Errorf("restore the initial state: %w", err)
	}
	v := t.oracle.View()
	t.oldest = v.Revision()
	t.views[v.Revision()] = v
	return t, nil
}

// wrote hears what a node has in its log now: entries of one index and term are the same
// everywhere, because one leader made them, once.
func (t *truth) wrote(by string, ls []*raft.Log) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range ls {
		at := position{l.Index, l.Term}
		known := t.entries[at]
		if known == nil {
			t.entries[at] = l
			continue
		}
		if known.Type != l.Type || !bytes.Equal(known.Data, l.Data) {
			t.bad("two entries at index %d in term %d: %s has another one than was seen before", l.Index, l.Term, by)
		}
	}
}

// commit hears that a node takes the entry at an index for committed.
func (t *truth) commit(by string, index, term uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for uint64(len(t.terms)) <= index {
		t.terms = append(t.terms, 0)
	}
	switch known := t.terms[index]; known {
	case term:
	case 0:
		t.terms[index] = term
	default:
		t.bad("a commit was rewritten: entry %d is of term %d, for %s of term %d", index, known, by, term)
	}
	t.advance()
}

// isCommitted reports whether an entry is.
func (t *truth) isCommitted(index, term uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return index < uint64(len(t.terms)) && t.terms[index] == term
}

// leads hears that a node leads a term.
func (t *truth) leads(by peer.ID, term uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known, ok := t.leaders[term]; ok && known != by {
		t.bad("term %d has two leaders: %s and %s", term, short(known), short(by))
	}
	t.leaders[term] = by
}

func short(id peer.ID) string { return strings.TrimLeft(string(id), "a") }

// advance applies what has been committed without a gap. The caller holds mu.
func (t *truth) advance() {
	for next := t.applied + 1; next < uint64(len(t.terms)) && t.terms[next] != 0; next++ {
		l := t.entries[position{next, t.terms[next]}]
		if l == nil {
			return // whoever has written it will tell
		}
		t.applied = next
		if l.Type != raft.LogCommand {
			continue
		}
		e, err := fsm.DecodeEntry(l.Data)
		if err != nil {
			t.bad("entry %d: %v", next, err)
			continue
		}
		results, err := t.oracle.Apply(l.Data)
		if err != nil {
			t.bad("entry %d: %v", next, err)
			continue
		}
		for i, r := range results {
			t.carry(e.Items[i], r)
		}
		t.keep(t.oracle.View())
	}
}

// carry records what became of a command, and holds it against the model.
func (t *truth) carry(it fsm.Item, r fsm.Result) {
	if before, ok := t.ids[it.ID]; ok {
		if r.Revision != before {
			t.bad("command %x was carried out at revision %d and again at %d", it.ID[:4], before, r.Revision)
		}
		return
	}
	if r.Repeated || r.Code == fsm.CodeExpired {
		t.bad("command %x is new, and answered with %+v", it.ID[:4], r)
		return
	}
	t.ids[it.ID] = r.Revision
	t.commands[r.Revision] = command{it.ID, r.Code}
	cmd, err := fsm.Decode(it.Command)
	if err != nil {
		t.bad("revision %d: %v", r.Revision, err)
		return
	}
	key, value, cond := registerOf(cmd)
	now := t.row(key, r.Revision)
	want := fsm.Code("")
	if cond != 0 && (cond == fsm.Absent) != (now.modified == 0) || cond != 0 && cond != fsm.Absent && uint64(cond) != now.modified {
		want = fsm.CodeConflict
	}
	if r.Code != want {
		t.bad("revision %d: %s is at revision %d, the write is for %d, and the answer was %q", r.Revision, key, now.modified, cond, r.Code)
	}
	if r.Code == "" {
		if before, ok := t.values[key+" "+value]; ok {
			t.bad("%s is set to %s at revision %d and again at %d, by another command", key, value, before, r.Revision)
		}
		t.values[key+" "+value] = r.Revision
		t.rows[key] = append(t.rows[key], row{r.Revision, value})
	}
}

// keep records a state of the oracle.
func (t *truth) keep(v fsm.View) {
	rev := v.Revision()
	t.views[rev] = v
	for ; t.oldest+keepViews < rev; t.oldest++ {
		delete(t.views, t.oldest)
	}
	for _, key := range keys() {
		if got, want := rowOf(v, key), t.row(key, rev); got != want {
			t.bad("at revision %d the state has %s = %+v, the log makes it %+v", rev, key, got, want)
		}
	}
	if t.waiting[rev] {
		delete(t.waiting, rev)
		t.compare(rev, sight{v.Hash(), v.At(), "the log"})
	}
}

// row is what a key has at a revision.
func (t *truth) row(key string, rev uint64) row {
	all := t.rows[key]
	if i := sort.Search(len(all), func(i int) bool { return all[i].modified > rev }); i > 0 {
		return all[i-1]
	}
	return row{}
}

// saw hears which state a node has.
func (t *truth) saw(by string, v fsm.View) {
	t.mu.Lock()
	defer t.mu.Unlock()
	rev := v.Revision()
	if rev == 0 {
		return // nothing has been replicated to it yet
	}
	_, known := t.hashes[rev]
	t.compare(rev, sight{v.Hash(), v.At(), by})
	if known {
		return
	}
	if own, ok := t.views[rev]; ok {
		t.compare(rev, sight{own.Hash(), own.At(), "the log"})
	} else if rev > t.oracle.View().Revision() {
		t.waiting[rev] = true
	}
}

func (t *truth) compare(rev uint64, s sight) {
	known, ok := t.hashes[rev]
	switch {
	case !ok:
		t.hashes[rev] = s
	case known.hash != s.hash:
		t.bad("states diverge at revision %d: %s has %.8s, %s has %.8s", rev, known.by, known.hash, s.by, s.hash)
	}
}

// end checks what must be so when all nodes agree.
func (t *truth) end(rev uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at := t.oracle.View().Revision(); at != rev {
		t.bad("the nodes are at revision %d, what was committed makes %d", rev, at)
	}
	for rev := range t.waiting {
		t.bad("%s had a state of revision %d, which no log made", t.hashes[rev].by, rev)
	}
	var last time.Time
	for r := uint64(1); r <= rev; r++ {
		if s, ok := t.hashes[r]; ok {
			if s.at.Before(last) {
				t.bad("the clock of the state goes back at revision %d, from %v to %v", r, last, s.at)
			}
			last = s.at
		}
	}
}

// The keys that clients write: two settings whose values are numbers, and secrets, whose
// values are anything.
func keys() []string { return []string{"door.max_body_bytes", "engine.max_sessions", "s1", "s2", "s3"} }

func isSetting(key string) bool { return strings.Contains(key, ".") }

// put is the command that gives a key a value.
func put(key, value string, cond fsm.Match) fsm.Command {
	if isSetting(key) {
		return &fsm.SetSetting{Key: key, Value: value, If: cond}
	}
	return &fsm.PutSecret{Name: key, KeyID: 1, Sealed: []byte(value), If: cond}
}

func registerOf(c fsm.Command) (key, value string, cond fsm.Match) {
	switch c := c.(type) {
	case *fsm.SetSetting:
		return c.Key, c.Value, c.If
	case *fsm.PutSecret:
		return c.Name, string(c.Sealed), c.If
	}
	return "", "", 0
}

// rowOf is a key's row in a state.
func rowOf(v fsm.View, key string) row {
	if isSetting(key) {
		if s := v.SettingRow(key); s != nil {
			return row{s.Modified, s.Value}
		}
	} else if s := v.Secret(key); s != nil {
		return row{s.Modified, string(s.Sealed)}
	}
	return row{}
}

// rowsOf are those of all keys.
func rowsOf(v fsm.View) (out []row) {
	for _, key := range keys() {
		out = append(out, rowOf(v, key))
	}
	return out
}

func refusal(err error) (fsm.Code, bool) {
	var e *fsm.Error
	if errors.As(err, &e) {
		return e.Code, true
	}
	return "", false
}

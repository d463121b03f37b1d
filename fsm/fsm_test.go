package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// replica is an FSM with a clock and a counter for command IDs.
type replica struct {
	t    *testing.T
	f    *FSM
	now  time.Time
	next uint64
}

func newReplica(t *testing.T) *replica {
	return &replica{t: t, f: New(Options{}), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

func (r *replica) item(c Command) Item {
	r.t.Helper()
	b, err := Encode(c)
	if err != nil {
		r.t.Fatal(err)
	}
	r.next++
	it := Item{Known: r.f.View().Revision(), Actor: Actor{Kind: ActorToken, ID: "admin"}, Command: b}
	binary.BigEndian.PutUint64(it.ID[:], r.next)
	return it
}

func (r *replica) apply(items ...Item) []Result {
	r.t.Helper()
	b, err := EncodeEntry(Entry{Now: StampOf(r.now), Items: items})
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := r.f.Apply(b)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// do applies one command in an entry of its own.
func (r *replica) do(c Command) Result {
	r.t.Helper()
	return r.apply(r.item(c))[0]
}

func (r *replica) must(c Command) Result {
	r.t.Helper()
	res := r.do(c)
	if err := res.Err(); err != nil {
		r.t.Fatalf("%s: %v", c.kind(), err)
	}
	return res
}

func (r *replica) refused(code Code, c Command) {
	r.t.Helper()
	if res := r.do(c); res.Code != code {
		r.t.Fatalf("%s: code %q (%s), want %q", c.kind(), res.Code, res.Message, code)
	}
}

func nodeID(i int) peer.ID { return peer.ID(fmt.Sprintf("aaaaaaaaaaaaaaa%c", 'a'+i)) }

func node(i int) Node {
	return Node{
		ID: nodeID(i), Name: fmt.Sprintf("n%d", i), Class: peer.ClassServer, Weight: 100, FeatureLevel: 1,
		Addr: fmt.Sprintf("10.0.0.%d:14747", i), KeyHash: bytes.Repeat([]byte{byte(i)}, 32), Engines: []string{"builtin"},
	}
}

func (r *replica) init() *replica {
	r.t.Helper()
	r.must(&InitCluster{
		UUID: "u", Name: "c", Root: []byte("ca"), Node: node(1),
		JoinToken: JoinToken{ID: "join", Uses: 2, Hash: make([]byte, 32), Expires: StampOf(r.now.Add(time.Hour))},
		Token:     Token{ID: "admin", Name: "admin", Role: RoleAdmin, Hash: make([]byte, 32)},
		DataKey:   DataKey{ID: 1, Wraps: []Wrap{{Node: nodeID(1), Sealed: []byte("w1")}}},
		Secrets:   []Secret{{Name: "ca-key", KeyID: 1, Sealed: []byte("s")}},
	})
	return r
}

func TestCompareAndSetInOneEntry(t *testing.T) {
	r := newReplica(t).init()
	first := r.must(&SetSetting{Key: "door.show_node", Value: "true"})
	row := r.f.View().SettingRow("door.show_node")
	if row.Modified != first.Revision {
		t.Fatalf("modified %d, want the command's revision %d", row.Modified, first.Revision)
	}
	// Both commands were prepared from the same read; only the first may win.
	at := Match(row.Modified)
	res := r.apply(
		r.item(&SetSetting{Key: "door.show_node", Value: "false", If: at}),
		r.item(&SetSetting{Key: "door.show_node", Value: "true", If: at}),
	)
	if res[0].Code != "" || res[1].Code != CodeConflict {
		t.Fatalf("results %+v, want the second refused as a conflict", res)
	}
	if res[1].Revision != res[0].Revision+1 {
		t.Fatalf("revisions %d and %d: every command takes one", res[0].Revision, res[1].Revision)
	}
	r.refused(CodeConflict, &SetSetting{Key: "door.show_node", Value: "true", If: Absent})
	r.must(&UnsetSetting{Key: "door.show_node"})
	r.must(&SetSetting{Key: "door.show_node", Value: "true", If: Absent})
}

func TestRepeatedCommand(t *testing.T) {
	r := newReplica(t).init()
	it := r.item(&SetSetting{Key: "session.scope", Value: "document"})
	first := r.apply(it)[0]
	r.must(&SetSetting{Key: "session.scope", Value: "browser"})
	again := r.apply(it)[0]
	if !again.Repeated || again.Revision != first.Revision {
		t.Fatalf("repeat: %+v, want the first result %+v", again, first)
	}
	if got := r.f.View().Text("session.scope"); got != "browser" {
		t.Fatalf("the repeat was carried out again: scope is %q", got)
	}
	twice := r.item(&SetSetting{Key: "session.scope", Value: "wrong"})
	bad := r.apply(twice, twice)
	if bad[0].Code != CodeInvalid || bad[1].Code != CodeInvalid || !bad[1].Repeated || bad[1].Message != bad[0].Message {
		t.Fatalf("a refused command repeated in its own entry: %+v", bad)
	}
}

func TestMemoryForgets(t *testing.T) {
	r := newReplica(t).init()
	old := r.item(&SetSetting{Key: "session.scope", Value: "document"})
	fresh := r.item(&SetSetting{Key: "session.scope", Value: "browser"})
	r.apply(old)
	cmd, err := Encode(&RenameCluster{Name: "c"})
	if err != nil {
		t.Fatal(err)
	}
	for left := MemorySize; left > 0; {
		var items []Item
		for range min(left, MaxEntryItems) {
			r.next++
			it := Item{Known: r.f.View().Revision(), Command: cmd}
			binary.BigEndian.PutUint64(it.ID[:], r.next)
			items = append(items, it)
		}
		r.apply(items...)
		left -= len(items)
	}
	before := r.f.View().Revision()
	for _, it := range []Item{old, fresh} {
		if res := r.apply(it)[0]; res.Code != CodeExpired {
			t.Fatalf("beyond the memory: %+v, want expired", res)
		}
	}
	if now := r.f.View().Revision(); now != before {
		t.Fatalf("an expired repeat took revision %d", now)
	}
	if n := len(r.f.mem.index); n != MemorySize {
		t.Fatalf("%d results remembered, want %d", n, MemorySize)
	}
	same(t, r.f, restored(t, r.f))
}

func restored(t *testing.T, f *FSM) *FSM {
	t.Helper()
	s, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	g := New(Options{})
	if err := g.Restore(&b); err != nil {
		t.Fatal(err)
	}
	return g
}

func same(t *testing.T, a, b *FSM) {
	t.Helper()
	if x, y := a.View().Hash(), b.View().Hash(); x != y {
		t.Fatalf("hashes differ: %s and %s", x, y)
	}
	if len(a.mem.index) != len(b.mem.index) {
		t.Fatalf("memories differ: %d and %d", len(a.mem.index), len(b.mem.index))
	}
	for id, rev := range a.mem.index {
		if b.mem.index[id] != rev {
			t.Fatalf("command %x: revision %d and %d", id, rev, b.mem.index[id])
		}
	}
}

func TestSnapshotRestoresEverything(t *testing.T) {
	r := newReplica(t).init()
	r.must(&SetSetting{Key: "session.scope", Value: "document"})
	r.refused(CodeInvalid, &SetSetting{Key: "session.scope", Value: "nonsense"})
	r.must(&PutTask{Task: Task{Name: "t", Document: "sales", Every: time.Second, Attempts: 1, Timeout: time.Minute, CatchUp: time.Minute}})
	r.must(&RequestRun{Task: "t"})
	g := restored(t, r.f)
	same(t, r.f, g)
	if v := g.View(); v.Revision() != r.f.View().Revision() || v.Cluster().Name != "c" || len(v.OpenOccurrences()) != 1 {
		t.Fatal("the restored state is not the same")
	}
	repeat := *r
	repeat.f, repeat.next = g, r.next-1
	again := repeat.item(&RequestRun{Task: "t"})
	if res := repeat.apply(again)[0]; !res.Repeated {
		t.Fatalf("the restored memory does not know the last command: %+v", res)
	}
}

func TestDamagedSnapshotChangesNothing(t *testing.T) {
	r := newReplica(t).init()
	s, _ := r.f.Snapshot()
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	before := r.f.View().Hash()
	good := b.Bytes()
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x41
		if err := r.f.Restore(bytes.NewReader(bad)); err == nil {
			t.Fatalf("byte %d of %d flipped, and nothing was noticed", i, len(good))
		}
		if err := r.f.Restore(bytes.NewReader(good[:i])); err == nil {
			t.Fatalf("cut off at byte %d of %d, and nothing was noticed", i, len(good))
		}
	}
	if r.f.View().Hash() != before {
		t.Fatal("a damaged snapshot changed the state")
	}
}

func TestCacheHoldsWhatDoorsNeed(t *testing.T) {
	r := newReplica(t).init()
	r.must(&SetSetting{Key: "session.scope", Value: "document"})
	var b bytes.Buffer
	if err := r.f.View().WriteCache(&b); err != nil {
		t.Fatal(err)
	}
	v, err := ReadCache(&b)
	if err != nil {
		t.Fatal(err)
	}
	if !v.Cached() || v.Revision() != r.f.View().Revision() || v.Text("session.scope") != "document" ||
		v.Node(nodeID(1)) == nil || v.Secret("ca-key") == nil || v.Cluster() == nil {
		t.Fatalf("the cache lacks something")
	}
	if len(v.JoinTokens()) != 0 {
		t.Fatal("the cache holds join tokens")
	}
}

func TestUnknownKindStandsStill(t *testing.T) {
	var told error
	f := New(Options{OnHalt: func(err error) { told = err }})
	b, _ := EncodeEntry(Entry{Now: 1, Items: []Item{{Command: []byte{codecVersion, 0xff, 0xff, 0x90}}}})
	if _, err := f.Apply(b); err == nil || !strings.Contains(err.Error(), "upgrade") {
		t.Fatalf("error %v, want one that says what to do", err)
	}
	r := &replica{t: t, f: f, now: time.Now()}
	good, _ := EncodeEntry(Entry{Now: 1, Items: []Item{r.item(&RenameCluster{Name: "x"})}})
	if _, err := f.Apply(good); err == nil {
		t.Fatal("a halted state went on")
	}
	if _, err := f.Snapshot(); err == nil || told == nil {
		t.Fatal("a halted state made a snapshot, or told nobody")
	}
}

func TestTimeNeverGoesBack(t *testing.T) {
	r := newReplica(t).init()
	r.must(&SetSetting{Key: "session.scope", Value: "document"})
	at := r.f.View().At()
	r.now = r.now.Add(-time.Hour)
	r.must(&SetSetting{Key: "session.scope", Value: "browser"})
	if got := r.f.View().At(); !got.Equal(at) {
		t.Fatalf("the clock went from %s to %s", at, got)
	}
}

func TestAuditOnlyOfPeopleAndBounded(t *testing.T) {
	var out []Evicted
	f := New(Options{OnEvict: func(e []Evicted) { out = append(out, e...) }})
	r := &replica{t: t, f: f, now: time.Now()}
	r.init()
	quiet := r.item(&RenameCluster{Name: "quiet"})
	quiet.Actor = Actor{Kind: ActorNode, ID: "n"}
	r.apply(quiet)
	n := 0
	for a := range f.View().Audit(0) {
		n++
		if a.Detail == "name quiet" {
			t.Fatal("an agent's own command left an audit row")
		}
	}
	if n != 1 {
		t.Fatalf("%d audit rows, want 1", n)
	}
	for f.log.size() < MaxAudit { // the same one again and again
		f.log = f.log.add(f.log.rows[0])
	}
	r.must(&RenameCluster{Name: "loud"})
	if len(out) != 1 || out[0].Audit == nil || out[0].Audit.Action != "cluster.init" || f.log.size() != MaxAudit {
		t.Fatalf("evicted %+v of %d, want the oldest audit row", out, f.log.size())
	}
}

func TestStampsDoNotWrap(t *testing.T) {
	far := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	if s := StampOf(far); s < StampOf(time.Now()) {
		t.Fatalf("the year 9999 is stamped %d, before now", s)
	}
	if s := StampOf(time.Date(1, 2, 3, 0, 0, 0, 0, time.UTC)); s > 0 {
		t.Fatalf("the year 1 is stamped %d, after 1970", s)
	}
}

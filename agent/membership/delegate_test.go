package membership

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/peer"
)

const ownID peer.ID = "zzzzzzzzzzzzzzzz"

func newDelegate(t *testing.T, log zerolog.Logger) *delegate {
	t.Helper()
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return time.Unix(1000, 0) }
	r := newReports(Config{Self: ownID, Boot: 5, Now: now}, func() int { return 3 }, m)
	return &delegate{self: ownID, boot: 5, meta: encodeMeta(meta{Name: "self"}), book: newBook(), reports: r, look: func() {}, now: now, log: log}
}

func candidate(name string, m []byte) *memberlist.Node {
	return &memberlist.Node{Name: name, Addr: net.IP{10, 0, 0, 9}, Port: 14747, Meta: m}
}

func TestAliveRefuses(t *testing.T) {
	fine := encodeMeta(meta{Name: "x", Class: peer.ClassServer})
	d := newDelegate(t, zerolog.Nop())
	if err := d.NotifyAlive(candidate(nodeName(someID, 3), fine)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		node *memberlist.Node
		want error
	}{
		{"the same again", candidate(nodeName(someID, 3), fine), nil},
		{"a later start", candidate(nodeName(someID, 4), fine), nil},
		{"an earlier start", candidate(nodeName(someID, 3), fine), errSuperseded},
		{"ourselves", candidate(nodeName(ownID, 5), fine), nil},
		{"ourselves long ago", candidate(nodeName(ownID, 4), fine), errTwin},
		{"another start of ourselves", candidate(nodeName(ownID, 6), fine), errTwin},
		{"no id", candidate("node-1", fine), errMalformed},
		{"no boot", candidate(string(someID), fine), errMalformed},
		{"no metadata", candidate(nodeName(someID, 9), nil), errMalformed},
		{"no address", &memberlist.Node{Name: nodeName(someID, 9), Meta: fine}, errMalformed},
	} {
		if err := d.NotifyAlive(tc.node); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
		err := d.NotifyMerge([]*memberlist.Node{candidate(nodeName(someID, 1), fine), tc.node})
		if wantErr := tc.want == errMalformed; (err != nil) != wantErr {
			t.Errorf("%s: merge %v", tc.name, err)
		}
	}
}

func TestBookIsBounded(t *testing.T) {
	b := newBook()
	id := func(i int) peer.ID { return peer.ID(fmt.Sprint(i)) }
	for i := range maxNodes {
		if err := b.admit(id(i), 1, "a:1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.admit("one more", 1, "a:1"); !errors.Is(err, errCrowded) {
		t.Errorf("one more: %v", err)
	}
	if err := b.admit(id(0), 2, "a:2"); err != nil {
		t.Errorf("a known one: %v", err)
	}
	b.forget([]peer.Peer{{ID: id(0)}, {ID: id(1)}}, []peer.Peer{{ID: id(0)}})
	if addr, ok := b.addr(id(1), 1); addr != "" || !ok {
		t.Errorf("forgotten: %q, %v", addr, ok)
	}
	if err := b.admit("one more", 1, "a:1"); err != nil {
		t.Errorf("after one was forgotten: %v", err)
	}
	if addr, ok := b.addr(id(0), 1); addr != "a:2" || ok {
		t.Errorf("an earlier start: %q, %v", addr, ok)
	}
}

func TestTwinIsReportedOnce(t *testing.T) {
	var out bytes.Buffer
	d := newDelegate(t, zerolog.New(&out))
	for range 3 {
		d.NotifyAlive(candidate(nodeName(ownID, 6), d.meta))
		d.NotifyConflict(candidate("a", nil), candidate("b", nil))
	}
	if n := strings.Count(out.String(), "data directory copied"); n != 1 || !strings.Contains(out.String(), "10.0.0.9:14747") {
		t.Errorf("%d complaints:\n%s", n, out.String())
	}
}

func TestReceivedReports(t *testing.T) {
	d := newDelegate(t, zerolog.Nop())
	r := d.reports
	at := func(boot, seq uint64, cpu int) []byte {
		return encodeReport(report{ID: someID, Boot: boot, Load: peer.Load{Seq: seq, CPUPermille: cpu}})
	}
	for _, step := range []struct {
		name     string
		raw      []byte
		boot     uint64
		cpu      int
		passedOn bool
	}{
		{"first", at(2, 10, 1), 2, 1, true},
		{"the same", at(2, 10, 2), 2, 1, false},
		{"older", at(2, 9, 3), 2, 1, false},
		{"newer", at(2, 11, 4), 2, 4, true},
		{"earlier boot", at(1, 99, 5), 2, 4, false},
		{"later boot", at(3, 1, 6), 3, 6, true},
		{"garbage", []byte("garbage"), 3, 6, false},
		{"our own", encodeReport(report{ID: ownID, Boot: 99, Load: peer.Load{Seq: 99}}), 3, 6, false},
	} {
		d.NotifyMsg(step.raw)
		passed := len(d.GetBroadcasts(0, packetSize)) == 1
		r.queue.Reset()
		got := r.load(someID, step.boot)
		if got.CPUPermille != step.cpu || passed != step.passedOn || !got.Received.Equal(time.Unix(1000, 0)) {
			t.Errorf("%s: %+v, passed on %v", step.name, got, passed)
		}
	}
	if got := r.load(someID, 2); got.Seq != 0 {
		t.Errorf("load of an earlier boot: %+v", got)
	}
	if got := value(t, r.metrics.reportsRejected); got != 1 {
		t.Errorf("%d rejected", got)
	}
}

func TestMessageBufferIsCopied(t *testing.T) {
	d := newDelegate(t, zerolog.Nop())
	raw := encodeReport(sample())
	want := bytes.Clone(raw)
	d.NotifyMsg(raw)
	clear(raw)
	if got := d.GetBroadcasts(0, packetSize); len(got) != 1 || !bytes.Equal(got[0], want) {
		t.Errorf("passed on %x", got)
	}
}

func TestLocalStateRoundTrip(t *testing.T) {
	from, to := newDelegate(t, zerolog.Nop()), newDelegate(t, zerolog.Nop())
	from.self, from.reports.self = "yyyyyyyyyyyyyyyy", "yyyyyyyyyyyyyyyy"
	from.reports.publish(peer.Load{CPUPermille: 7})
	from.NotifyMsg(encodeReport(sample()))
	state := from.LocalState(false)
	to.MergeRemoteState(state, false)
	if got := to.reports.load("yyyyyyyyyyyyyyyy", 5); got.CPUPermille != 7 || got.Seq != 1 {
		t.Errorf("own load: %+v", got)
	}
	want := sample().Load
	want.Received = time.Unix(1000, 0)
	if diff := cmp.Diff(want, to.reports.load(someID, 7)); diff != "" {
		t.Error(diff)
	}
	if got := to.GetBroadcasts(0, packetSize); len(got) != 0 {
		t.Errorf("what a push/pull brought was passed on: %x", got)
	}
	for _, bad := range [][]byte{nil, {0}, state[:len(state)-1], append([]byte{1}, 0xff, 0xff, 0xff, 0xff, 0x0f)} {
		before := value(t, to.reports.metrics.reportsRejected)
		to.MergeRemoteState(bad, false)
		if value(t, to.reports.metrics.reportsRejected) == before {
			t.Errorf("%x was taken for a state", bad)
		}
	}
}

func TestLocalStateIsBounded(t *testing.T) {
	d := newDelegate(t, zerolog.Nop())
	big := fit(report{Load: peer.Load{Engines: engines(16, 32, 100)}})
	for i := range 2000 {
		big.ID = peer.ID(fmt.Sprintf("%016s", strings.Map(func(r rune) rune { return r + 'a' - '0' }, fmt.Sprint(i))))
		big.ID = peer.ID(strings.ReplaceAll(string(big.ID), "0", "a"))
		raw := encodeReport(big)
		if d.reports.byNode[big.ID] = (kept{big, raw}); !big.ID.Valid() {
			t.Fatal(big.ID)
		}
	}
	if n := len(d.LocalState(false)); n > maxLocalState || n < maxLocalState-maxReport-3 {
		t.Errorf("%d bytes", n)
	}
}

func TestPublishedReportsKeepTheBudget(t *testing.T) {
	d := newDelegate(t, zerolog.Nop())
	now := time.Unix(1000, 0)
	d.reports.now = func() time.Time { return now }
	sent := 0
	for range 600 { // two minutes of gossip ticks, a new report at each
		d.reports.publish(peer.Load{Engines: engines(4, 20, 40)})
		for _, b := range d.GetBroadcasts(0, packetSize) {
			if r, err := decodeReport(b); err != nil || r.ID != ownID {
				t.Fatal(err)
			}
			sent++
		}
		d.reports.queue.Reset()
		now = now.Add(200 * time.Millisecond)
	}
	size := len(d.reports.byNode[ownID].raw)
	want := int(2*time.Minute/pause(3, size)) + 1
	if sent < want-1 || sent > want {
		t.Errorf("%d reports of %d bytes in two minutes, want %d", sent, size, want)
	}
}

func TestReportsOfUnknownNodesAreForgotten(t *testing.T) {
	d := newDelegate(t, zerolog.Nop())
	now := time.Unix(1000, 0)
	d.reports.now = func() time.Time { return now }
	d.NotifyMsg(encodeReport(sample()))
	now = now.Add(time.Minute)
	d.reports.prune(nil)
	if d.reports.load(someID, 7).Seq == 0 {
		t.Error("forgotten before the node could become known")
	}
	now = now.Add(time.Second)
	d.reports.prune([]peer.Peer{{ID: someID}})
	if d.reports.load(someID, 7).Seq == 0 {
		t.Error("the report of a known node was forgotten")
	}
	d.reports.prune(nil)
	if d.reports.load(someID, 7).Seq != 0 {
		t.Error("the report of an unknown node is kept")
	}
}

func TestDecodeStates(t *testing.T) {
	answer := bytes.NewBuffer([]byte{pushPull})
	enc := codec.NewEncoder(answer, new(codec.MsgpackHandle))
	for _, v := range []any{
		pushPullHeader{Nodes: 3, UserStateLen: 2},
		nodeState{Name: nodeName(someID, 2), Addr: []byte{10, 0, 0, 1}, Port: 1, Meta: encodeMeta(meta{Name: "x"}), State: memberlist.StateSuspect},
		nodeState{Name: nodeName(ownID, 5), Addr: placeholder(), Port: 2, Meta: encodeMeta(meta{Name: "y", Addr: "y:2"}), State: memberlist.StateLeft},
		nodeState{Name: "malformed", Addr: []byte{10, 0, 0, 1}, Port: 1},
	} {
		if err := enc.Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	states, err := decodeStates(answer.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	want := []peer.Peer{
		{ID: someID, Boot: 2, Name: "x", Addr: "10.0.0.1:1", Status: peer.StatusSuspect},
		{ID: ownID, Boot: 5, Name: "y", Addr: "y:2", Status: peer.StatusLeft},
	}
	if diff := cmp.Diff(want, sightings(states)); diff != "" {
		t.Error(diff)
	}
	for n := range answer.Len() {
		if _, err := decodeStates(answer.Bytes()[:n]); err == nil {
			t.Errorf("an answer cut to %d bytes was taken", n)
		}
	}
}

func TestMemberlistLogIsQuiet(t *testing.T) {
	var out bytes.Buffer
	l := quiet(zerolog.New(&out))
	l.Print("[DEBUG] memberlist: Stream connection from=self")
	l.Print("[ERR] memberlist: Push/Pull with x failed")
	l.Print("Err: no tag")
	want := `{"level":"debug","message":"memberlist: Push/Pull with x failed"}
{"level":"debug","message":"Err: no tag"}
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestPingIn(t *testing.T) {
	ping := bytes.NewBuffer([]byte{typePing})
	if err := codec.NewEncoder(ping, new(codec.MsgpackHandle)).Encode(struct {
		SeqNo uint32
		Node  string
	}{77, "x"}); err != nil {
		t.Fatal(err)
	}
	compound := append([]byte{typeCompound, 2, 0, byte(ping.Len()), 0, 1}, ping.Bytes()...)
	compound = append(compound, 0xff)
	checked := append([]byte{typeChecked, 1, 2, 3, 4}, compound...)
	for name, packet := range map[string][]byte{"alone": ping.Bytes(), "in a compound": compound, "with a check sum": checked} {
		if seq, ok := pingIn(packet); !ok || seq != 77 {
			t.Errorf("%s: %d, %v", name, seq, ok)
		}
		for n := range packet {
			pingIn(packet[:n]) // must not panic
		}
	}
	for _, packet := range [][]byte{nil, {typeAck, 1}, {typeCompound, 255, 0}, {typePing}, {typePing, 0xff}} {
		if _, ok := pingIn(packet); ok {
			t.Errorf("%x is no ping", packet)
		}
	}
}

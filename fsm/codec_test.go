package fsm

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
)

var update = flag.Bool("update", false, "write the golden files anew")

func ptr[T any](v T) *T { return &v }

// samples is one command of every kind with every field set.
func samples() []Command {
	n := node(1)
	n.Meta, n.Door, n.State, n.StateUntil, n.StateReason = Meta{1, 2}, "10.0.0.1:8080", peer.StateDraining, 3, "why"
	n.Priority, n.Tags, n.PublicName, n.SealKey = 4, []string{"a", "b"}, "door.example", []byte{5}
	n.Version, n.Boot, n.Nonce, n.Joined = "v1", 6, []byte{7}, 8
	task := Task{
		Meta: Meta{1, 2}, Name: "t", Document: "d", Engine: "e", Tag: "g", Cron: "* * * * *", Every: time.Second, Zone: "UTC",
		Start: 3, Attempts: 4, Timeout: time.Minute, CatchUp: time.Hour, Paused: true, Reason: "r", Cursor: 5, By: "b",
	}
	id := OccurrenceID{Task: "t", Due: 9}
	return []Command{
		&InitCluster{
			UUID: "u", Name: "c", Root: []byte{1}, RecoveryPublic: []byte{2}, Node: n,
			JoinToken: JoinToken{Meta{1, 2}, "join", []byte{3}, 4, [][]byte{{5}}, 6, "n", 7, "b", 8},
			Token:     Token{Meta{1, 2}, "tok", "name", []byte{3}, RoleAdmin, 4, 5, "b", 6},
			DataKey:   DataKey{Meta{1, 2}, 3, []Wrap{{"n", []byte{4}}}},
			Secrets:   []Secret{{Meta{1, 2}, "s", 3, []byte{4}, 5}},
		},
		&AdmitNode{TokenID: "t", Node: n, Wraps: []KeyWrap{{1, Wrap{"n", []byte{2}}}}},
		&ReportNode{ID: "i", Addr: "a", Door: "d", Version: "v", FeatureLevel: 1, Boot: 2, Nonce: []byte{3}, Engines: []string{"e"}, PublicName: "p"},
		&UpdateNode{ID: "i", If: 1, Weight: ptr(2), Priority: ptr(3), Tags: ptr([]string{"a"}), PublicName: ptr("p")},
		&SetNodeState{ID: "i", If: 1, State: peer.StateStandby, Until: 2, Reason: "r"},
		&RemoveNode{ID: "i"},
		&RenameCluster{Name: "n"},
		&RaiseFeatureLevel{To: 2},
		&SetSetting{Key: "k", Value: "v", If: Absent},
		&UnsetSetting{Key: "k", If: 1},
		&ImportSettings{Pairs: []Pair{{"k", "v"}}, Reset: true},
		&CreateJoinToken{ID: "i", Hash: []byte{1}, Uses: 2, Expires: 3, Replace: "r"},
		&RevokeJoinToken{ID: "i"},
		&CreateToken{ID: "i", Name: "n", Hash: []byte{1}, Role: RoleViewer, Expires: 2},
		&RevokeToken{ID: "i"},
		&PutSecret{Name: "n", KeyID: 1, Sealed: []byte{2}, If: 3},
		&PutDataKey{KeyID: 1, Wraps: []Wrap{{"n", []byte{2}}}},
		&PutTask{Task: task, If: 1},
		&RemoveTask{Name: "t", If: 1},
		&PauseTask{Name: "t", Paused: true, Reason: "r", If: 1},
		&RequestRun{Task: "t"},
		&ClaimOccurrence{OccurrenceID: id, Attempt: 1, Node: "n", Engine: "e"},
		&StartOccurrence{OccurrenceID: id, Fence: 1, Node: "n"},
		&RenewOccurrence{OccurrenceID: id, Fence: 1, Node: "n"},
		&FinishOccurrence{id, 1, "n", true, true, 2, time.Second, "e", "o"},
		&LoseOccurrence{OccurrenceID: id, Fence: 1, Reason: "r"},
		&SkipOccurrence{OccurrenceID: id, State: OccurrenceMissed, Reason: "r"},
	}
}

// TestCommandEncodingIsForEver compares the bytes of every kind with those that
// older logs hold. A difference means that old logs can no longer be read: append
// fields, never change, move or remove them.
func TestCommandEncodingIsForEver(t *testing.T) {
	var got strings.Builder
	seen := map[Kind]bool{}
	for _, c := range samples() {
		b, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "%d %s %s\n", c.kind(), c.kind(), hex.EncodeToString(b))
		seen[c.kind()] = true
		back, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, back, cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
			t.Errorf("%s does not come back: %s", c.kind(), diff)
		}
	}
	for k := range registry {
		if !seen[k] {
			t.Errorf("kind %d (%s) has no sample", k, k)
		}
	}
	path := filepath.Join("testdata", "commands.golden")
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("encodings changed (-golden +now): %s", diff)
	}
}

// TestOldEncodingsStillRead drops trailing fields, as an older version wrote them.
func TestOldEncodingsStillRead(t *testing.T) {
	b, err := pack(struct{ Key, Value string }{"k", "v"}) // SetSetting without If
	if err != nil {
		t.Fatal(err)
	}
	c, err := Decode(append([]byte{codecVersion, 0, byte(KindSetSetting)}, b...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&SetSetting{Key: "k", Value: "v"}, c); diff != "" {
		t.Error(diff)
	}
}

func TestSnapshotEncodingIsForEver(t *testing.T) {
	r := newReplica(t).init()
	r.must(&SetSetting{Key: "session.scope", Value: "document"})
	r.refused(CodeNotFound, &RemoveTask{Name: "x"})
	s, err := r.f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "snapshot.golden")
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, b.Bytes()) {
		t.Error("the form of snapshots changed: old ones can no longer be read")
	}
}

func TestTooLargeCommandIsRefused(t *testing.T) {
	_, err := Encode(&SetSetting{Key: "k", Value: strings.Repeat("x", MaxCommandBytes)})
	if !IsCode(err, CodeLimit) {
		t.Fatalf("error %v, want a limit", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range samples() {
		b, err := Encode(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Encode(c)
		if err != nil {
			t.Skip() // decoded from a shorter form than ours, and too large in ours
		}
		back, err := Decode(again)
		if err != nil {
			t.Fatalf("what was encoded does not decode: %v", err)
		}
		third, err := Encode(back)
		if err != nil || !bytes.Equal(again, third) {
			t.Fatal("the encoding is not stable")
		}
		// Whatever was decoded must be applied or refused, never break the state.
		r := newReplica(t).init()
		before := r.f.View().Hash()
		res := r.apply(Item{ID: CommandID{0xff}, Known: 1, Command: again})
		if res[0].Code != "" {
			if v := r.f.View(); v.Revision() != 2 {
				t.Fatalf("a refused command left revision %d", v.Revision())
			}
		} else if r.f.View().Hash() == before {
			t.Fatal("a command was carried out and left no trace")
		}
	})
}

func FuzzDecodeEntry(f *testing.F) {
	b, _ := EncodeEntry(Entry{Now: 1, Items: []Item{{ID: CommandID{1}, Known: 2, Actor: Actor{ActorToken, "t", "n"}, Command: []byte{1}}}})
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEntry(b)
		if err != nil {
			return
		}
		if len(e.Items) > MaxEntryItems {
			t.Fatalf("%d items", len(e.Items))
		}
		again, err := EncodeEntry(e)
		if err != nil {
			return
		}
		back, err := DecodeEntry(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, back); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzRestore(f *testing.F) {
	good, err := os.ReadFile(filepath.Join("testdata", "snapshot.golden"))
	if err == nil {
		f.Add(good)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := New(Options{}).Restore(bytes.NewReader(b)); err == nil && !bytes.Equal(b, good) && !slices.Equal(b[:7], []byte(snapshotMagic)) {
			t.Fatal("something that is no snapshot was restored")
		}
	})
}

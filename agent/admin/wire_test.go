package admin

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/fsm"
)

func someCommands() *applyRequest {
	return &applyRequest{Items: []applyItem{
		{ID: fsm.CommandID{1, 2}, Known: 1 << 40, Kind: actorToken, Token: "usht_x", Actor: "abc", Command: []byte{1, 2, 3}},
		{ID: fsm.CommandID{9}, Kind: actorNode, Command: bytes.Repeat([]byte{7}, fsm.MaxCommandBytes)},
	}}
}

func someResults() *applyAnswer {
	return &applyAnswer{Items: []applyResult{
		{Revision: 1 << 50, Repeated: true},
		{Revision: 3, Code: fsm.CodeConflict, Message: "it is there"},
		{Problem: busy()},
		{},
	}}
}

func TestWire(t *testing.T) {
	in, gotIn := someCommands(), new(applyRequest)
	if err := gotIn.readWire(in.appendWire(nil)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(in, gotIn); d != "" {
		t.Error(d)
	}
	out, gotOut := someResults(), new(applyAnswer)
	if err := gotOut.readWire(out.appendWire(nil)); err != nil {
		t.Fatal(err)
	}
	out.Items[2].Problem.RetryAfter = 0 // which is a header's
	if d := cmp.Diff(out, gotOut); d != "" {
		t.Error(d)
	}
}

// TestWireOfALaterVersion has a record that is longer than we know.
func TestWireOfALaterVersion(t *testing.T) {
	one := someCommands().Items[:1]
	b := (&applyRequest{Items: one}).appendWire(nil)
	b = appendRecord(nil, func(dst []byte) []byte { return append(append(dst, b[4:]...), "more"...) })
	got := new(applyRequest)
	if err := got.readWire(b); err != nil || !cmp.Equal(got.Items, one) {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestWireThatIsCutOff(t *testing.T) {
	whole := (&applyRequest{Items: someCommands().Items[:1]}).appendWire(nil)
	for n := 1; n < len(whole); n++ {
		if err := new(applyRequest).readWire(whole[:n]); err == nil {
			t.Fatalf("%d bytes of %d were taken", n, len(whole))
		}
	}
	answer := (&applyAnswer{Items: someResults().Items[2:3]}).appendWire(nil)
	for n := 1; n < len(answer); n++ {
		if err := new(applyAnswer).readWire(answer[:n]); err == nil {
			t.Fatalf("%d bytes of an answer of %d were taken", n, len(answer))
		}
	}
	if err := new(applyRequest).readWire(appendText(nil, "")); err == nil {
		t.Error("an empty record was taken")
	}
	many := &applyRequest{Items: make([]applyItem, fsm.MaxEntryItems+1)}
	if err := new(applyRequest).readWire(many.appendWire(nil)); err == nil {
		t.Error("more records than an entry holds were taken")
	}
}

func FuzzWire(f *testing.F) {
	f.Add(someCommands().appendWire(nil)[:80])
	f.Add(someResults().appendWire(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var in, again applyRequest
		if in.readWire(b) == nil {
			if err := again.readWire(in.appendWire(nil)); err != nil || !cmp.Equal(in.Items, again.Items) {
				t.Fatalf("%+v became %+v: %v", in, again, err)
			}
		}
		var out applyAnswer
		if out.readWire(b) == nil && len(out.Items) > fsm.MaxEntryItems {
			t.Fatal("too many results")
		}
	})
}

// TestProofsAreJudgedAnew holds that a token whose proof is kept is refused when the
// state says so, and that no more proofs are kept than allowed.
func TestProofsAreJudgedAnew(t *testing.T) {
	tr := newTruth()
	tok := tr.seed(t)
	var k proven
	who, why := k.check(tr.fsm.View(), tok.viewer, tr.Now())
	if why != "" || len(k.proofs) != 1 {
		t.Fatalf("%q, %d kept", why, len(k.proofs))
	}
	if again, why := k.check(tr.fsm.View(), tok.viewer, tr.Now()); why != "" || again != who {
		t.Fatalf("again: %+v, %q", again, why)
	}
	if _, why := k.check(fsm.New(fsm.Options{}).View(), tok.viewer, tr.Now()); why != wrongToken {
		t.Errorf("in a state without it: %q", why)
	}
	if _, why := k.check(tr.fsm.View(), tok.viewer+"a", tr.Now()); why != wrongToken || len(k.proofs) != 1 {
		t.Errorf("a wrong one: %q, %d kept", why, len(k.proofs))
	}
	for i := range maxProven + 10 {
		k.keep([32]byte{1, byte(i), byte(i >> 8)}, proof{})
	}
	if len(k.proofs) > maxProven {
		t.Errorf("%d proofs are kept", len(k.proofs))
	}
}

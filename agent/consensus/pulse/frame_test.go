package pulse

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// every is one frame of every kind, no number in it twice.
func every() []frame {
	base := frame{
		Facts: Facts{Term: 0x0102, LastTerm: 0x0304, LastIndex: 0x0506, Revision: 0x0708},
		boot:  0x090a, clock: -0x0b0c,
	}
	list := []frame{
		{kind: kindBeat},
		{kind: kindAsk, nonce: 0x1112131415161718},
		{kind: kindAnswer, nonce: 0x1112131415161718},
		{kind: kindRead, nonce: 0x2122232425262728},
		{kind: kindRevision, nonce: 0x2122232425262728, argIndex: 0x31},
		{kind: kindRefused, nonce: 0x2122232425262728},
		{kind: kindGone, argTerm: 0x41, argNode: "abcdefghijkl2345"},
		{kind: kindStand, argTerm: 0x51, argIndex: 0x52},
	}
	for i := range list {
		list[i].Facts, list[i].boot, list[i].clock = base.Facts, base.boot, base.clock
	}
	return list
}

func TestFrameBytes(t *testing.T) {
	var dump strings.Builder
	for _, f := range every() {
		fmt.Fprintf(&dump, "kind %d\n%s", f.kind, hex.Dump(f.append(nil)))
	}
	file := filepath.Join("testdata", "frames.golden")
	if *update {
		if err := os.WriteFile(file, []byte(dump.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (run with -update)", err)
	}
	if diff := cmp.Diff(string(want), dump.String()); diff != "" {
		t.Errorf("the frames changed, and with them the protocol (-want +got):\n%s", diff)
	}
}

func TestFrameRoundTrip(t *testing.T) {
	for _, want := range every() {
		b := want.append([]byte("before"))
		got := frame{kind: 99, argNode: "stale", nonce: 99} // what an earlier frame left behind
		if err := got.parse(b[len("before"):]); err != nil {
			t.Errorf("kind %d: %v", want.kind, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(frame{})); diff != "" {
			t.Errorf("kind %d (-want +got):\n%s", want.kind, diff)
		}
	}
}

func TestFrameParse(t *testing.T) {
	valid := func(k kind) []byte {
		for _, f := range every() {
			if f.kind == k {
				return f.append(nil)
			}
		}
		panic("no such kind")
	}
	set := func(b []byte, at int, v ...byte) []byte { copy(b[at:], v); return b }
	cases := []struct {
		name string
		b    []byte
		ok   bool
	}{
		{"nothing", nil, false},
		{"one byte less", valid(kindBeat)[1:], false},
		{"one byte more", append(valid(kindBeat), 0), false},
		{"version 0", set(valid(kindBeat), 0, 0), false},
		{"version 2", set(valid(kindBeat), 0, 2), false},
		{"a node that is none", set(valid(kindGone), 76, 'A'), false},
		{"a node that is too short", set(valid(kindGone), 91, 0), false},
		{"a node of another kind that is none", set(valid(kindBeat), 76, 'x'), false},
		{"gone without a node", set(valid(kindGone), 76, make([]byte, idSize)...), false},
		{"zeros that are none", set(set(valid(kindBeat), 2, 1, 2), 92, 3, 4, 5, 6), true},
		{"an unknown kind", set(valid(kindBeat), 1, 200), true},
		{"an unknown kind with a node", set(valid(kindGone), 1, 200), true},
		{"a beat with a node", set(valid(kindGone), 1, byte(kindBeat)), true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			var f frame
			switch err := f.parse(tc.b); {
			case tc.ok && err != nil:
				t.Errorf("refused: %v", err)
			case !tc.ok && !errors.Is(err, errFrame):
				t.Errorf("error %v, want errFrame", err)
			}
		})
	}
}

func FuzzFrame(f *testing.F) {
	for _, fr := range every() {
		f.Add(fr.append(nil))
	}
	f.Add([]byte{frameVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		var fr frame
		if fr.parse(b) != nil {
			return
		}
		want := bytes.Clone(b) // without what parse passes over
		clear(want[2:4])
		clear(want[92:96])
		if got := fr.append(nil); !bytes.Equal(got, want) {
			t.Errorf("read  %x\nwrote %x", want, got)
		}
	})
}

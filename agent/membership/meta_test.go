package membership

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/memberlist"

	"github.com/ushercluster/usher/agent/peer"
)

func TestMetaGolden(t *testing.T) {
	for name, m := range map[string]meta{
		"meta":      {Name: "north-1", Version: "1.4.0", Class: peer.ClassServer},
		"meta-name": {Name: "edge", Version: "1.4.0", Class: peer.ClassEdge, Addr: "edge.example.org:14747"},
	} {
		b := encodeMeta(m)
		golden(t, name, b)
		got, err := decodeMeta(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestMetaIsBounded(t *testing.T) {
	long := strings.Repeat("ä", 400)
	b := encodeMeta(meta{Name: long, Version: long, Class: "unheard-of", Addr: strings.Repeat("a", maxHost) + ":65535"})
	if len(b) > maxMeta || maxMeta >= memberlist.MetaMaxSize {
		t.Errorf("%d bytes, maxMeta %d, memberlist panics at %d", len(b), maxMeta, memberlist.MetaMaxSize)
	}
	got, err := decodeMeta(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Name) != 62 || !utf8.ValidString(got.Name) { // 63 would split a character
		t.Errorf("name %q of %d bytes", got.Name, len(got.Name))
	}
	if got.Class != "" {
		t.Errorf("class %q", got.Class)
	}
}

func TestDecodeMeta(t *testing.T) {
	valid := encodeMeta(meta{Name: "a", Version: "1", Class: peer.ClassServer, Addr: "b:1"})
	for _, tc := range []struct {
		name string
		in   []byte
		want meta
		ok   bool
	}{
		{"valid", valid, meta{"a", "1", peer.ClassServer, "b:1"}, true},
		{"later version with more", append(append([]byte{9}, valid[1:]...), "more"...), meta{"a", "1", peer.ClassServer, "b:1"}, true},
		{"unknown class", append([]byte{1, 77}, valid[2:]...), meta{"a", "1", "", "b:1"}, true},
		{"terminal escape", []byte("\x01\x01\x02\x1b[\x00\x00"), meta{"?[", "", peer.ClassServer, ""}, true},
		{"empty", nil, meta{}, false},
		{"version 0", append([]byte{0}, valid[1:]...), meta{}, false},
		{"cut short", valid[:len(valid)-1], meta{}, false},
		{"name too long", []byte("\x01\x01\x40" + strings.Repeat("a", 64) + "\x00\x00"), meta{}, false},
		{"address without port", []byte("\x01\x01\x00\x00\x01b"), meta{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := decodeMeta(tc.in)
			if (err == nil) != tc.ok || err != nil && !errors.Is(err, errMalformed) {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzMeta(f *testing.F) {
	f.Add(encodeMeta(meta{Name: "north-1", Version: "1.4.0", Class: peer.ClassServer}))
	f.Add(encodeMeta(meta{Name: "ä", Version: "\x1b", Addr: "edge.example.org:14747"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err != nil {
			return
		}
		again, err := decodeMeta(encodeMeta(m))
		if err != nil {
			t.Fatalf("%+v does not survive: %v", m, err)
		}
		if diff := cmp.Diff(m, again); diff != "" {
			t.Error(diff)
		}
	})
}

func TestParseName(t *testing.T) {
	const id = "abcdefghijklmno2"
	for name, want := range map[string]uint64{id + ".0": 0, id + ".17": 17, id + ".18446744073709551615": 1<<64 - 1} {
		got, boot, ok := parseName(name)
		if !ok || got != id || boot != want || nodeName(got, boot) != name {
			t.Errorf("%s: %s, %d, %v", name, got, boot, ok)
		}
	}
	for _, name := range []string{"", id, id + ".", id + ".01", id + ".+1", id + ".-1", id + ".1.2", id + ".18446744073709551616",
		"short.1", "ABCDEFGHIJKLMNO2.1", " " + id + ".1"} {
		if _, _, ok := parseName(name); ok {
			t.Errorf("%q was taken for a name", name)
		}
	}
}

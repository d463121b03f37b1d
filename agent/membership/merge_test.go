package membership

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
)

func TestMerge(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	before := now.Add(-time.Hour)
	// p is a peer in few letters.
	p := func(id string, boot uint64, s peer.Status, since time.Time) peer.Peer {
		return peer.Peer{ID: peer.ID(id), Boot: boot, Status: s, Since: since}
	}
	seen := func(id string, boot uint64, s peer.Status) peer.Peer { return p(id, boot, s, time.Time{}) }
	const alive, suspect, failed, left = peer.StatusAlive, peer.StatusSuspect, peer.StatusFailed, peer.StatusLeft
	for _, tc := range []struct {
		name             string
		last, seen, want []peer.Peer
	}{
		{"first sight is sorted", nil, []peer.Peer{seen("b", 1, alive), seen("a", 1, alive)},
			[]peer.Peer{p("a", 1, alive, now), p("b", 1, alive, now)}},
		{"no change keeps since", []peer.Peer{p("a", 1, alive, before)}, []peer.Peer{seen("a", 1, alive)},
			[]peer.Peer{p("a", 1, alive, before)}},
		{"a change of status", []peer.Peer{p("a", 1, alive, before)}, []peer.Peer{seen("a", 1, suspect)},
			[]peer.Peer{p("a", 1, suspect, now)}},
		{"the highest boot wins whatever its status", nil,
			[]peer.Peer{seen("a", 9, alive), seen("a", 10, failed), seen("a", 2, alive)},
			[]peer.Peer{p("a", 10, failed, now)}},
		{"a new boot is a new start", []peer.Peer{p("a", 1, alive, before)}, []peer.Peer{seen("a", 1, alive), seen("a", 2, alive)},
			[]peer.Peer{p("a", 2, alive, now)}},
		{"failed out of the blue is a rumour at first", []peer.Peer{p("a", 1, alive, before)}, []peer.Peer{seen("a", 1, failed)},
			[]peer.Peer{p("a", 1, suspect, now)}},
		{"and for a second", []peer.Peer{p("a", 1, suspect, now.Add(-time.Second+1))}, []peer.Peer{seen("a", 1, failed)},
			[]peer.Peer{p("a", 1, suspect, now.Add(-time.Second+1))}},
		{"no longer", []peer.Peer{p("a", 1, suspect, now.Add(-time.Second))}, []peer.Peer{seen("a", 1, failed)}, []peer.Peer{p("a", 1, failed, now)}},
		{"forgotten is failed", []peer.Peer{p("a", 1, suspect, before)}, nil, []peer.Peer{p("a", 1, failed, now)}},
		{"failed stays failed", []peer.Peer{p("a", 1, failed, before)}, nil, []peer.Peer{p("a", 1, failed, before)}},
		{"left stays left", []peer.Peer{p("a", 1, left, before)}, nil, []peer.Peer{p("a", 1, left, before)}},
		{"an old boot does not rise again", []peer.Peer{p("a", 2, failed, before)}, []peer.Peer{seen("a", 1, alive)},
			[]peer.Peer{p("a", 2, failed, before)}},
		{"back again", []peer.Peer{p("a", 2, failed, before)}, []peer.Peer{seen("a", 2, alive)}, []peer.Peer{p("a", 2, alive, now)}},
		{"a day is remembered", []peer.Peer{p("a", 1, failed, now.Add(-24*time.Hour+1)), p("b", 1, left, now.Add(-24*time.Hour+1))}, nil,
			[]peer.Peer{p("a", 1, failed, now.Add(-24*time.Hour+1)), p("b", 1, left, now.Add(-24*time.Hour+1))}},
		{"more is not", []peer.Peer{p("a", 1, failed, now.Add(-24*time.Hour)), p("b", 1, left, now.Add(-24*time.Hour))}, nil, nil},
		{"alive for long is kept", []peer.Peer{p("a", 1, alive, now.Add(-240*time.Hour))}, []peer.Peer{seen("a", 1, alive)},
			[]peer.Peer{p("a", 1, alive, now.Add(-240*time.Hour))}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			loads := func(id peer.ID, boot uint64) peer.Load { return peer.Load{Seq: boot} }
			for i := range tc.want {
				tc.want[i].Load.Seq = tc.want[i].Boot
			}
			last := slices.Clone(tc.last)
			got := merge(tc.last, tc.seen, loads, now)
			if len(got) != 0 || len(tc.want) != 0 {
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Error(diff)
				}
			}
			if diff := cmp.Diff(last, tc.last); diff != "" {
				t.Errorf("the last list was changed: %s", diff)
			}
			if again := merge(got, tc.seen, loads, now); !same(got, again) {
				t.Errorf("merging twice gives %v", again)
			}
		})
	}
}

func TestTransitions(t *testing.T) {
	a := peer.Peer{ID: "a", Boot: 1, Status: peer.StatusAlive}
	with := func(boot uint64, s peer.Status) peer.Peer { return peer.Peer{ID: "a", Boot: boot, Status: s} }
	for _, tc := range []struct {
		name     string
		was, is  peer.Peer
		changed  bool
		newStart bool // of its connection
	}{
		{"none", a, a, false, false},
		{"first", peer.Peer{}, a, true, false},
		{"suspect", a, with(1, peer.StatusSuspect), true, true},
		{"refuted", with(1, peer.StatusSuspect), a, true, false},
		{"failed", with(1, peer.StatusSuspect), with(1, peer.StatusFailed), true, true},
		{"back", with(1, peer.StatusFailed), a, true, true},
		{"restarted", a, with(2, peer.StatusAlive), true, false},
		{"left", a, with(1, peer.StatusLeft), true, false},
	} {
		var last []peer.Peer
		if tc.was.ID != "" {
			last = append(last, tc.was)
		}
		got := transitions(last, []peer.Peer{tc.is})
		if (len(got) == 1) != tc.changed {
			t.Errorf("%s: %v", tc.name, got)
		} else if tc.changed && got[0].stale() != tc.newStart {
			t.Errorf("%s: stale %v", tc.name, got[0].stale())
		}
	}
}

func TestPause(t *testing.T) {
	for _, tc := range []struct {
		nodes, size int
		want        time.Duration
	}{
		{1, 76, time.Second},
		{3, 76, time.Second},
		{43, 76, time.Second},
		{50, 76, 1140 * time.Millisecond},
		{100, 76, 3420 * time.Millisecond},
		{1000, 76, 45600 * time.Millisecond},
		{3, 10, time.Second},
		{3, 4096, 1843200 * time.Microsecond},
		{50, 1000, 15 * time.Second},
	} {
		if got := pause(tc.nodes, tc.size); got.Round(time.Microsecond) != tc.want {
			t.Errorf("%d nodes, %d bytes: %v, want %v", tc.nodes, tc.size, got, tc.want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for _, tc := range []struct {
		in    string
		limit int
		want  string
	}{
		{"north-1", 63, "north-1"},
		{"abc", 2, "ab"},
		{"aä", 2, "a"},
		{"日本", 5, "日"},
		{"a\x00\x1b\nb\xff", 63, "a???b?"},
		{strings.Repeat("a", 64), 63, strings.Repeat("a", 63)},
	} {
		if got := printable(tc.in, tc.limit); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.in, got, tc.want)
		}
	}
}

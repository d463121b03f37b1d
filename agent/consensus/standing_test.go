package consensus

import (
	"testing"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

func TestStanding(t *testing.T) {
	now := time.Unix(1000, 0)
	five := []peer.ID{"a", "b", "c", "d", "l"}
	say := func(term, index uint64) statement { return statement{"l", 7, mark{index, term}, now} }
	of := func(st statement, change func(*statement)) statement { change(&st); return st }
	same := say(7, 10)
	for _, c := range []struct {
		name   string
		self   peer.ID
		voters []peer.ID
		said   map[peer.ID]statement
		after  time.Duration
		ok     bool
	}{
		{"nobody", "a", five, nil, 0, false},
		{"two of five", "a", five, map[peer.ID]statement{"a": same, "b": same}, 0, false},
		{"three of five", "a", five, map[peer.ID]statement{"a": same, "b": same, "c": same}, 0, true},
		{"by ID if all else is equal", "c", five, map[peer.ID]statement{"a": same, "b": same, "c": same}, 100 * time.Millisecond, true},
		{"a majority without us", "d", five, map[peer.ID]statement{"a": same, "b": same, "c": same}, 0, false},
		{"one alone of three", "a", []peer.ID{"a", "b", "l"}, map[peer.ID]statement{"a": same}, 0, false},
		{"half of four is none", "a", []peer.ID{"a", "b", "c", "l"}, map[peer.ID]statement{"a": same, "b": same}, 0, false},
		{"the leader's own does not count", "a", []peer.ID{"a", "b", "l"}, map[peer.ID]statement{"a": same, "l": same}, 0, false},
		{"nor that of one who has no vote", "a", []peer.ID{"a", "b", "l"}, map[peer.ID]statement{"a": same, "x": same}, 0, false},
		{"nor one of another leader", "a", []peer.ID{"a", "b", "l"},
			map[peer.ID]statement{"a": same, "b": of(same, func(s *statement) { s.leader = "a" })}, 0, false},
		{"nor one of another term", "a", []peer.ID{"a", "b", "l"},
			map[peer.ID]statement{"a": same, "b": of(same, func(s *statement) { s.term = 6 })}, 0, false},
		{"nor an old one", "a", []peer.ID{"a", "b", "l"},
			map[peer.ID]statement{"a": same, "b": of(same, func(s *statement) { s.at = now.Add(-5 * time.Second) })}, 0, false},
		{"nor our own, old one", "a", []peer.ID{"a", "b", "l"},
			map[peer.ID]statement{"b": same, "a": of(same, func(s *statement) { s.at = now.Add(-5 * time.Second) })}, 0, false},
		{"the longest log is first", "d", five, map[peer.ID]statement{"a": say(7, 8), "b": say(7, 9), "c": say(6, 99), "d": say(7, 10)}, 0, true},
		{"a shorter one is second", "b", five, map[peer.ID]statement{"a": say(7, 8), "b": say(7, 9), "c": say(6, 99), "d": say(7, 10)}, 50 * time.Millisecond, true},
		{"a lower ID does not make up for it", "a", five, map[peer.ID]statement{"a": say(7, 8), "b": say(7, 9), "c": say(6, 99), "d": say(7, 10)}, 100 * time.Millisecond, true},
		{"an older term is last, however long", "c", five, map[peer.ID]statement{"a": say(7, 8), "b": say(7, 9), "c": say(6, 99), "d": say(7, 10)}, 150 * time.Millisecond, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			after, ok := standing(c.self, "l", 7, c.voters, c.said, now)
			if after != c.after || ok != c.ok {
				t.Errorf("after %v, %v; want %v, %v", after, ok, c.after, c.ok)
			}
		})
	}
}

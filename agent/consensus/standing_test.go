package consensus

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/peer"
)

func TestStanding(t *testing.T) {
	now := time.Unix(1000, 0)
	five := []peer.ID{"a", "b", "c", "d", "l"}
	say := func(term, index uint64) statement { return statement{"l", 7, mark{index, term}, now} }
	of := func(st statement, change func(*statement)) statement { change(&st); return st }
	same := say(7, 10)
	three := []peer.ID{"a", "b", "l"}
	by := func(st statement, ids ...peer.ID) map[peer.ID]statement {
		said := map[peer.ID]statement{}
		for _, id := range ids {
			said[id] = st
		}
		return said
	}
	with := func(said map[peer.ID]statement, id peer.ID, st statement) map[peer.ID]statement {
		said[id] = st
		return said
	}
	other := of(same, func(s *statement) { s.leader = "a" })
	past := of(same, func(s *statement) { s.term = 6 })
	old := of(same, func(s *statement) { s.at = now.Add(-5 * time.Second) })
	mixed := map[peer.ID]statement{"a": say(7, 8), "b": say(7, 9), "c": say(6, 99), "d": say(7, 10)}
	for _, c := range []struct {
		name   string
		self   peer.ID
		voters []peer.ID
		said   map[peer.ID]statement
		lost   []peer.ID // the pulse does not reach them
		rank   int
		all    bool
		ok     bool
	}{
		{"nobody", "a", five, nil, nil, 0, false, false},
		{"two of five", "a", five, by(same, "a", "b"), nil, 0, false, false},
		{"three of five, and one to come", "a", five, by(same, "a", "b", "c"), nil, 0, false, true},
		{"three of five, and one that is lost", "a", five, by(same, "a", "b", "c"), []peer.ID{"d"}, 0, true, true},
		{"four of five, the leader seems to be reached", "a", five, by(same, "a", "b", "c", "d"), nil, 0, true, true},
		{"one to come is of another term", "a", five, with(by(same, "a", "b", "c"), "d", past), nil, 0, false, true},
		{"by ID if all else is equal", "c", five, by(same, "a", "b", "c", "d"), nil, 2, true, true},
		{"who has not spoken has no rank", "c", five, by(same, "b", "c", "d"), nil, 1, false, true},
		{"a majority without us", "d", five, by(same, "a", "b", "c"), nil, 0, false, false},
		{"one alone of three", "a", three, by(same, "a"), nil, 0, false, false},
		{"one alone of three, all else lost", "a", three, by(same, "a"), []peer.ID{"b", "l"}, 0, false, false},
		{"half of four is none", "a", []peer.ID{"a", "b", "c", "l"}, by(same, "a", "b"), []peer.ID{"c"}, 0, false, false},
		{"the leader's own does not count", "a", three, by(same, "a", "l"), nil, 0, false, false},
		{"nor that of one who has no vote", "a", three, by(same, "a", "x"), nil, 0, false, false},
		{"nor one of another leader", "a", three, with(by(same, "a"), "b", other), nil, 0, false, false},
		{"nor one of another term", "a", three, with(by(same, "a"), "b", past), nil, 0, false, false},
		{"nor an old one", "a", three, with(by(same, "a"), "b", old), nil, 0, false, false},
		{"nor our own, old one", "a", three, with(by(same, "b"), "a", old), nil, 0, false, false},
		{"the longest log is first", "d", five, mixed, nil, 0, true, true},
		{"a shorter one is second", "b", five, mixed, nil, 1, true, true},
		{"a lower ID does not make up for it", "a", five, mixed, nil, 2, true, true},
		{"an older term is last, however long", "c", five, mixed, nil, 3, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := poll{self: c.self, leader: "l", term: 7, voters: c.voters, said: c.said, now: now,
				reached: func(id peer.ID) bool { return !slices.Contains(c.lost, id) }}
			rank, all, ok := p.standing()
			if rank != c.rank || all != c.all || ok != c.ok {
				t.Errorf("rank %d, all %v, %v; want %d, %v, %v", rank, all, ok, c.rank, c.all, c.ok)
			}
		})
	}
}

// TestRanksAreTheSameEverywhere has each of four survivors rank itself when it has heard
// all: no two may take themselves for the same.
func TestRanksAreTheSameEverywhere(t *testing.T) {
	now := time.Unix(1000, 0)
	r := rand.New(rand.NewPCG(1, 2))
	voters := []peer.ID{"a", "b", "c", "d", "l"}
	for range 1000 {
		said := map[peer.ID]statement{}
		for _, id := range voters[:4] {
			said[id] = statement{"l", 7, mark{r.Uint64N(3), 5 + r.Uint64N(3)}, now}
		}
		ranks := map[int]peer.ID{}
		for _, id := range voters[:4] {
			p := poll{self: id, leader: "l", term: 7, voters: voters, said: said, now: now, reached: func(peer.ID) bool { return true }}
			rank, all, ok := p.standing()
			if !all || !ok {
				t.Fatalf("%s: all %v, ok %v", id, all, ok)
			}
			ranks[rank] = id
		}
		if len(ranks) != 4 {
			t.Fatalf("%v have the ranks %v", said, ranks)
		}
		if said[ranks[0]].end.compare(said[ranks[3]].end) < 0 {
			t.Fatalf("the first of %v is %s", said, ranks[0])
		}
	}
}

func TestGiveWay(t *testing.T) {
	own := mark{10, 7}
	for _, c := range []struct {
		name  string
		asked ballot
		rank  int
		want  time.Duration
	}{
		{"it has our log", ballot{end: own}, 0, votePause},
		{"it has our log, and we are third", ballot{end: own}, 2, votePause + 2*rankPause},
		{"it has a longer log", ballot{end: mark{11, 7}}, 1, votePause + rankPause},
		{"it has a later entry", ballot{end: mark{1, 8}}, 1, votePause + rankPause},
		{"it has a shorter log", ballot{end: mark{9, 7}}, 1, lossPause},
		{"it has an older entry", ballot{end: mark{99, 6}}, 2, 2 * lossPause},
		{"it has a shorter log, and we were first", ballot{end: mark{9, 7}}, 0, lossPause},
		{"two stand at once", ballot{end: own, contested: true}, 2, 2 * lossPause},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := giveWay(c.asked, own, c.rank); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestBallots(t *testing.T) {
	var b ballots
	ask := func(id string, term, index uint64) {
		b.heard(&raft.RequestVoteRequest{RPCHeader: raft.RPCHeader{ID: []byte(id)}, Term: term, LastLogTerm: 1, LastLogIndex: index})
	}
	want := func(what string, want ballot, rang bool, do func()) {
		t.Helper()
		_, changed := b.latest()
		do()
		got, _ := b.latest()
		if got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
		select {
		case <-changed:
			if !rang {
				t.Errorf("%s woke who waits", what)
			}
		default:
			if rang {
				t.Errorf("%s woke nobody", what)
			}
		}
	}
	first := ballot{term: 3, candidate: "a", end: mark{5, 1}}
	want("one", first, true, func() { ask("a", 3, 5) })
	want("an older one", first, false, func() { ask("b", 2, 9) })
	want("the same again", first, true, func() { ask("a", 3, 5) })
	both := first
	both.contested = true
	want("another in its term", both, true, func() { ask("b", 3, 9) })
	want("a later one", ballot{term: 4, candidate: "b", end: mark{9, 1}}, true, func() { ask("b", 4, 9) })
}

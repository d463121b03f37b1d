package placement

import (
	"cmp"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// MaxVoters bounds the voters of a cluster: five survive two losses, and each
// further one makes every write slower.
const MaxVoters = 5

// Server is a node that stores the Raft log.
type Server struct {
	ID     peer.ID
	Voter  bool
	Leader bool
	Alive  bool
	Since  time.Time // in that condition since; the longer, the more it is trusted
}

// Voters says which servers should vote: the largest odd number of the live ones
// up to MaxVoters, except that two servers are two voters. Present voters are
// kept: a live voter is never replaced by another server, and a dead one keeps its
// place until a live server takes it or until the others would survive more losses
// without it. So a restart of one node changes nothing. The result is sorted.
func Voters(servers []Server) []peer.ID {
	live := make([]Server, 0, len(servers))
	var voters []Server
	deadVoters := 0
	for _, s := range servers {
		if s.Alive {
			live = append(live, s)
		}
		if s.Voter {
			voters = append(voters, s)
			if !s.Alive {
				deadVoters++
			}
		}
	}
	slices.SortFunc(live, preferred)
	want := live[:wanted(len(live))]
	newcomers := slices.ContainsFunc(want, func(s Server) bool { return !s.Voter })
	if deadVoters > 0 && !newcomers && tolerance(len(voters), deadVoters) >= tolerance(len(want), 0) {
		want = voters
	}
	return sortedIDs(want)
}

// wanted is how many of n live servers vote.
func wanted(n int) int {
	if n >= MaxVoters {
		return MaxVoters
	}
	if n <= 2 || n%2 == 1 {
		return n
	}
	return n - 1
}

// tolerance is how many more voters may be lost before there is no majority;
// negative when there is none already.
func tolerance(voters, dead int) int { return (voters-1)/2 - dead }

func preferred(a, b Server) int {
	rank := func(s Server) int {
		switch {
		case s.Leader:
			return 0
		case s.Voter:
			return 1
		}
		return 2
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
}

func sortedIDs(servers []Server) []peer.ID {
	ids := make([]peer.ID, len(servers))
	for i, s := range servers {
		ids[i] = s.ID
	}
	slices.Sort(ids)
	return ids
}

// Change is one change of Raft's configuration.
type Change struct {
	ID      peer.ID
	Promote bool // to voter; else it becomes a non-voter
}

// Step is the next single change on the way from the current voters to the wanted
// ones, both sorted: promote first, one that caughtUp says holds the log; then
// demote, never below the wanted number, so that a replacement never weakens the
// cluster. It returns false when nothing can be done now.
func Step(current, want []peer.ID, caughtUp func(peer.ID) bool) (Change, bool) {
	for _, id := range want {
		if !slices.Contains(current, id) && caughtUp(id) {
			return Change{ID: id, Promote: true}, true
		}
	}
	if len(want) == 0 || len(current) <= len(want) {
		return Change{}, false
	}
	for _, id := range slices.Backward(current) {
		if !slices.Contains(want, id) {
			return Change{ID: id}, true
		}
	}
	return Change{}, false
}

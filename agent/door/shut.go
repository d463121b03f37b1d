package door

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
)

// shut are the engines that take no new session, and why.
type shut map[peer.EngineID]placement.Reason

// without takes those that refused out of cs, and notes why. It changes neither slice.
func (s shut) without(cs []placement.Candidate, answers []heard) []placement.Candidate {
	for _, a := range answers {
		if !a.OK {
			s[a.Engine] = a.Reason
		}
	}
	return slices.DeleteFunc(slices.Clone(cs), func(c placement.Candidate) bool {
		return slices.ContainsFunc(answers, func(a heard) bool { return a.Engine == c.Engine })
	})
}

// String counts the reasons in words that users may read, such as "2 draining, 1
// full". It is empty when there is no such engine.
func (s shut) String() string {
	words := []string{"draining", "standby", "full", "unhealthy", "dead", "out of reach"}
	counts := make([]int, len(words))
	for _, reason := range s {
		if i := slices.Index(words, reasonWord(reason)); i >= 0 {
			counts[i]++
		}
	}
	var parts []string
	for i, n := range counts {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, words[i]))
		}
	}
	return strings.Join(parts, ", ")
}

// reasonWord is "" for what concerns one request only.
func reasonWord(r placement.Reason) string {
	switch r {
	case placement.NodeDraining:
		return "draining"
	case placement.NodeStandby:
		return "standby"
	case placement.Full:
		return "full"
	case placement.Unhealthy:
		return "unhealthy"
	case placement.Dead:
		return "dead"
	case placement.NodeSuspect, placement.NodeLost, placement.NodeUnknown:
		return "out of reach"
	}
	return ""
}

// problemNoPlace is problemNoEngine with the reason.
func problemNoPlace(s shut) *problem {
	p := *problemNoEngine
	if why := s.String(); why != "" {
		p.Title = "No engine takes new sessions: " + why + ". Please try again."
	}
	return &p
}

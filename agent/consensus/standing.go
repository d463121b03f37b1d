package consensus

import (
	"cmp"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// statement is what a voter says of a leader.
type statement struct {
	leader peer.ID
	term   uint64
	end    mark // of the voter's own log
	at     time.Time
}

// poll is what is known of a leader that may have crashed.
type poll struct {
	self, leader peer.ID
	term         uint64
	voters       []peer.ID
	reached      func(peer.ID) bool // by the pulse
	said         map[peer.ID]statement
	now          time.Time
}

// standing says whether a majority of the voters has stated that the leader of a term
// is gone, self among them, and the rank of self among all who have, by (last log
// term, last index, ID). all means that nobody else is likely to: whoever is reached
// has spoken, so that the ranks are the same everywhere.
func (p poll) standing() (rank int, all, ok bool) {
	var agree []peer.ID
	all = true
	for _, id := range p.voters {
		st, has := p.said[id]
		switch {
		case id == p.leader:
		case has && st.leader == p.leader && st.term == p.term && p.now.Sub(st.at) < statementAge:
			agree = append(agree, id)
		case id == p.self || p.reached(id):
			all = false
		}
	}
	if len(agree) < len(p.voters)/2+1 || !slices.Contains(agree, p.self) {
		return 0, false, false
	}
	slices.SortFunc(agree, func(a, b peer.ID) int {
		return cmp.Or(p.said[b].end.compare(p.said[a].end), cmp.Compare(a, b))
	})
	return slices.Index(agree, p.self), all, true
}

// compare orders ends of logs as Raft does for votes.
func (m mark) compare(o mark) int {
	return cmp.Or(cmp.Compare(m.term, o.term), cmp.Compare(m.index, o.index))
}

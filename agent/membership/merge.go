package membership

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// retention is how long a node that failed or left is remembered after memberlist
// has forgotten it.
const retention = 24 * time.Hour

// rumour is for how long a node that is said to have failed is only suspect if it was alive, or
// suspect for less: a node that was cut off thinks that of all others and says so when it is
// back, and those that live take some tenths of a second to deny it. Nodes that really fail
// are suspect for longer than that before.
const rumour = time.Second

// merge makes the next list of peers out of the last one and what memberlist sees
// now: one entry per node, the highest boot wins, a node that is not seen any more
// has failed, unless it had left. loads finds the last report of one boot.
func merge(last, seen []peer.Peer, loads func(peer.ID, uint64) peer.Load, now time.Time) []peer.Peer {
	all := newest(append(slices.Clone(seen), fade(last)...))
	for i := range all {
		p := &all[i]
		p.Since = now
		if old, ok := find(last, p.ID); ok && old.Boot == p.Boot {
			p.Status = believed(old, p.Status, now)
			if old.Status == p.Status {
				p.Since = old.Since
			}
		}
		p.Load = loads(p.ID, p.Boot)
	}
	return slices.DeleteFunc(all, func(p peer.Peer) bool {
		gone := p.Status == peer.StatusFailed || p.Status == peer.StatusLeft
		return gone && now.Sub(p.Since) >= retention
	})
}

// believed is the status of a peer after old, when gossip says is.
func believed(old peer.Peer, is peer.Status, now time.Time) peer.Status {
	fresh := old.Status == peer.StatusAlive || old.Status == peer.StatusSuspect && now.Sub(old.Since) < rumour
	if is == peer.StatusFailed && fresh {
		return peer.StatusSuspect
	}
	return is
}

// fade is what remains to be said of peers that are not seen any more.
func fade(last []peer.Peer) []peer.Peer {
	faded := slices.Clone(last)
	for i := range faded {
		if faded[i].Status != peer.StatusLeft {
			faded[i].Status = peer.StatusFailed
		}
	}
	return faded
}

// newest keeps the highest boot of each node, and the first entry among equals.
func newest(all []peer.Peer) []peer.Peer {
	slices.SortStableFunc(all, func(a, b peer.Peer) int {
		return cmp.Or(strings.Compare(string(a.ID), string(b.ID)), cmp.Compare(b.Boot, a.Boot))
	})
	return slices.CompactFunc(all, func(a, b peer.Peer) bool { return a.ID == b.ID })
}

// find looks a node up in a sorted list.
func find(peers []peer.Peer, id peer.ID) (peer.Peer, bool) {
	i, ok := slices.BinarySearchFunc(peers, id, func(p peer.Peer, id peer.ID) int {
		return strings.Compare(string(p.ID), string(id))
	})
	if !ok {
		return peer.Peer{}, false
	}
	return peers[i], true
}

// same reports whether two lists say the same. A load is identified by its boot
// and sequence number.
func same(a, b []peer.Peer) bool {
	return slices.EqualFunc(a, b, func(x, y peer.Peer) bool {
		return x.ID == y.ID && x.Boot == y.Boot && x.Status == y.Status && x.Since.Equal(y.Since) &&
			x.Load.Seq == y.Load.Seq && x.Name == y.Name && x.Addr == y.Addr && x.Version == y.Version && x.Class == y.Class
	})
}

// transition is a peer whose boot or status is not what it was.
type transition struct {
	was, is peer.Peer // was is zero for a new peer
}

// transitions compares two lists.
func transitions(last, next []peer.Peer) []transition {
	var changes []transition
	for _, p := range next {
		old, _ := find(last, p.ID)
		if old.Boot != p.Boot || old.Status != p.Status {
			changes = append(changes, transition{old, p})
		}
	}
	return changes
}

// stale reports whether the connection to the peer should not be used further: it
// may hang although the network is whole, or its other end is gone.
func (t transition) stale() bool {
	return t.is.Status == peer.StatusSuspect || t.is.Status == peer.StatusFailed || t.was.Status == peer.StatusFailed
}

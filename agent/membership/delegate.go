package membership

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// complaintEvery limits how often a clash of identities is logged.
const complaintEvery = time.Minute

// delegate is what memberlist calls. memberlist holds its locks meanwhile, so
// nothing here waits for anything.
type delegate struct {
	self    peer.ID
	boot    uint64
	meta    []byte
	book    *book
	reports *reports
	look    func() // something changed
	now     func() time.Time
	log     zerolog.Logger

	mu         sync.Mutex
	complained time.Time
}

var (
	_ memberlist.Delegate         = (*delegate)(nil)
	_ memberlist.EventDelegate    = (*delegate)(nil)
	_ memberlist.AliveDelegate    = (*delegate)(nil)
	_ memberlist.MergeDelegate    = (*delegate)(nil)
	_ memberlist.ConflictDelegate = (*delegate)(nil)
)

// NodeMeta implements memberlist.Delegate.
func (d *delegate) NodeMeta(limit int) []byte {
	if len(d.meta) > limit { // maxMeta is far below; memberlist panics above
		return nil
	}
	return d.meta
}

// NotifyMsg implements memberlist.Delegate.
func (d *delegate) NotifyMsg(b []byte) { d.reports.receive(b) }

// GetBroadcasts implements memberlist.Delegate.
func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.reports.broadcasts(overhead, limit)
}

// LocalState implements memberlist.Delegate.
func (d *delegate) LocalState(bool) []byte { return d.reports.local() }

// MergeRemoteState implements memberlist.Delegate.
func (d *delegate) MergeRemoteState(b []byte, _ bool) { d.reports.merge(b) }

// NotifyJoin implements memberlist.EventDelegate.
func (d *delegate) NotifyJoin(*memberlist.Node) { d.look() }

// NotifyLeave implements memberlist.EventDelegate. It tells of failed nodes too.
func (d *delegate) NotifyLeave(*memberlist.Node) { d.look() }

// NotifyUpdate implements memberlist.EventDelegate.
func (d *delegate) NotifyUpdate(*memberlist.Node) { d.look() }

// errTwin means that another process uses our identity.
var errTwin = errors.New("another start of this node is alive")

// NotifyAlive implements memberlist.AliveDelegate: an error keeps the node out.
func (d *delegate) NotifyAlive(n *memberlist.Node) error {
	id, boot, m, err := read(n)
	if err != nil {
		return err
	}
	if id == d.self && boot != d.boot {
		if boot > d.boot {
			d.complain(n.Address(), "another start of this node is alive: was its data directory copied?")
		}
		return fmt.Errorf("%w: %d", errTwin, boot)
	}
	return d.book.admit(id, boot, addrOf(n.Addr, n.Port, m))
}

// NotifyMerge implements memberlist.MergeDelegate: an error refuses a whole join.
func (d *delegate) NotifyMerge(nodes []*memberlist.Node) error {
	for _, n := range nodes {
		if _, _, _, err := read(n); err != nil {
			return err
		}
	}
	return nil
}

// NotifyConflict implements memberlist.ConflictDelegate.
func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	d.complain(other.Address(), "two addresses claim one node: was a data directory copied?")
}

// complain logs what a person must put right, now and then.
func (d *delegate) complain(addr, msg string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if !d.complained.IsZero() && now.Sub(d.complained) < complaintEvery {
		return
	}
	d.complained = now
	d.log.Error().Str(logs.Addr, addr).Msg(msg)
}

// read checks the form of what a node says of itself.
func read(n *memberlist.Node) (peer.ID, uint64, meta, error) {
	id, boot, ok := parseName(n.Name)
	if !ok {
		return "", 0, meta{}, fmt.Errorf("%w: node name %q", errMalformed, n.Name)
	}
	m, err := decodeMeta(n.Meta)
	if err != nil {
		return "", 0, meta{}, fmt.Errorf("node %s: %w", n.Name, err)
	}
	if len(n.Addr) != net.IPv4len && len(n.Addr) != net.IPv6len {
		return "", 0, meta{}, fmt.Errorf("%w: address of node %s", errMalformed, n.Name)
	}
	return id, boot, m, nil
}

// quiet is a logger for memberlist. What an operator wants to know is logged where
// the status of a peer changes; memberlist's own lines are for debugging the
// protocol, and its debugging lines, one for each stream, for nobody.
func quiet(l zerolog.Logger) *log.Logger {
	return log.New(untagged{logs.Std(l, zerolog.DebugLevel).Writer()}, "", 0)
}

// untagged takes memberlist's level off its lines.
type untagged struct{ w io.Writer }

func (u untagged) Write(p []byte) (int, error) {
	line := string(p)
	if strings.HasPrefix(line, "[DEBUG]") {
		return len(p), nil
	}
	if _, rest, ok := strings.Cut(line, "] "); ok && strings.HasPrefix(line, "[") {
		line = rest
	}
	if _, err := u.w.Write([]byte(line)); err != nil {
		return 0, err
	}
	return len(p), nil
}

package membership

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// When and how others are joined.
const (
	joinEvery   = 15 * time.Second
	newsEvery   = time.Second     // contacts that nobody has tried yet are looked for this often
	joinTimeout = 5 * time.Second // of one contact: dial and state exchange
	joinsAtOnce = 8
	visitsMost  = 8                      // at the same time
	visitDelay  = 500 * time.Millisecond // time for a suspect to hear of it and to object
)

// joiner exchanges states with nodes that gossip does not reach.
//
// Contacts that are not alive members are tried again and again: memberlist
// forgets the dead after 30 s, and the two sides of a healed partition know
// nothing of each other then. And a peer that becomes suspect is visited once: a
// node objects to a suspicion only a few times, and when its objections are lost,
// in a connection that hangs, nobody asks it again.
type joiner struct {
	m      *Membership
	wg     sync.WaitGroup
	visits chan struct{} // holds one for each visit that is on

	mu      sync.Mutex
	who     map[string]peer.ID // whom a contact turned out to be
	reached int                // in this round
	alone   bool               // it has been said that nobody answers
}

func newJoiner(m *Membership) *joiner {
	return &joiner{m: m, who: make(map[string]peer.ID), visits: make(chan struct{}, visitsMost)}
}

// run tries at once, every 15 s, and within a second when there are contacts that
// no round has tried (an agent that starts without a node table learns it from Raft a
// moment later) or while no other member is known.
func (j *joiner) run(ctx context.Context) {
	tick := time.NewTicker(newsEvery)
	defer tick.Stop()
	tried := j.round(ctx)
	for rest := joinEvery; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if rest -= newsEvery; rest <= 0 || j.lonely() || j.news(tried) {
			tried, rest = j.round(ctx), joinEvery
		}
	}
}

// lonely reports whether the last round found nobody.
func (j *joiner) lonely() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.alone
}

// news reports whether there is a contact that is not among those tried, sorted.
func (j *joiner) news(tried []string) bool {
	return slices.ContainsFunc(j.m.cfg.Contacts(), func(c string) bool {
		_, known := slices.BinarySearch(tried, c)
		return !known
	})
}

// round tries every contact that needs it, waits for all, and returns the contacts
// that there were, sorted.
func (j *joiner) round(ctx context.Context) []string {
	contacts := slices.Clone(j.m.cfg.Contacts())
	slices.Sort(contacts)
	contacts = slices.Compact(contacts)
	j.remember(contacts)
	due := slices.DeleteFunc(slices.Clone(contacts), j.here)

	slots := make(chan struct{}, joinsAtOnce)
	var wg sync.WaitGroup
	for _, contact := range due {
		slots <- struct{}{} // no one holds a slot for longer than joinTimeout
		wg.Go(func() {
			defer func() { <-slots }()
			var err error
			if !j.here(contact) { // an earlier one may have told us of it
				err = j.join(ctx, contact)
			}
			if err == nil {
				j.mu.Lock()
				j.reached++
				j.mu.Unlock()
			} else if ctx.Err() == nil {
				j.m.metrics.dialsFailed.WithLabelValues(dialJoin).Inc()
				j.m.log.Debug().Err(err).Str(logs.Addr, contact).Msg("contact not joined")
			}
		})
	}
	wg.Wait()
	if ctx.Err() == nil {
		j.judge(len(due))
	}
	return contacts
}

// remember forgets contacts that are not asked for any more.
func (j *joiner) remember(contacts []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.reached = 0
	for contact := range j.who {
		if !slices.Contains(contacts, contact) {
			delete(j.who, contact)
		}
	}
}

// here reports whether a contact is this node or an alive member.
func (j *joiner) here(contact string) bool {
	if contact == j.m.cfg.Advertise {
		return true
	}
	j.mu.Lock()
	id := j.who[contact]
	j.mu.Unlock()
	if id != "" {
		return j.alive(id)
	}
	return slices.ContainsFunc(j.m.Peers(), func(p peer.Peer) bool { return p.Addr == contact && present(p) })
}

func (j *joiner) alive(id peer.ID) bool {
	p, ok := j.m.Peer(id)
	return id == j.m.cfg.Self || ok && present(p)
}

func present(p peer.Peer) bool {
	return p.Status == peer.StatusAlive || p.Status == peer.StatusSuspect
}

// join connects to a contact and exchanges states with whoever is there, unless
// that is a member already.
func (j *joiner) join(ctx context.Context, contact string) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	conn, err := j.m.cfg.Dial(ctx, "", contact, true)
	if err != nil {
		return err
	}
	if id, ok := j.m.cfg.PeerOf(conn); ok {
		j.mu.Lock()
		j.who[contact] = id
		j.mu.Unlock()
		if j.alive(id) {
			return conn.Close()
		}
	}
	if err := j.exchange(ctx, conn); err != nil {
		return err
	}
	j.m.log.Info().Str(logs.Addr, contact).Msg("contact joined")
	return nil
}

// exchange tells our state over a stream that ends with it, and takes the other's.
func (j *joiner) exchange(ctx context.Context, conn net.Conn) error {
	bounded, err := j.m.fabric.outgoing(conn)
	if err != nil {
		return err
	}
	defer bounded.Close()
	defer context.AfterFunc(ctx, func() { bounded.Close() })()
	name := j.m.fabric.offer(bounded)
	if _, err := j.m.list.Join([]string{name + "/" + j.m.placeholderAddr()}); err != nil {
		return errors.Join(err, ctx.Err())
	}
	return nil
}

// visit asks a peer that has become suspect. It does not wait; when many do at
// once, the network is at fault and some are left out.
func (j *joiner) visit(ctx context.Context, t transition) {
	p := t.is
	if p.Status != peer.StatusSuspect {
		return
	}
	select {
	case j.visits <- struct{}{}:
	default:
		return
	}
	j.wg.Go(func() {
		defer func() { <-j.visits }()
		if !j.stillSuspect(ctx, p) {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, joinTimeout)
		defer cancel()
		conn, err := j.m.cfg.Dial(ctx, p.ID, p.Addr, true)
		if err == nil {
			err = j.exchange(ctx, conn)
		}
		if err != nil {
			j.m.log.Debug().Err(err).Str(logs.Peer, string(p.ID)).Msg("suspect peer not reached")
		}
	})
}

// stillSuspect gives a peer the time to object.
func (j *joiner) stillSuspect(ctx context.Context, p peer.Peer) bool {
	delay := time.NewTimer(visitDelay)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-ctx.Done():
		return false
	}
	now, _ := j.m.Peer(p.ID)
	return now.Boot == p.Boot && now.Status == peer.StatusSuspect
}

// judge says once when nobody answers, for then a person may have to look.
func (j *joiner) judge(tried int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	alone := tried > 0 && j.reached == 0 && !slices.ContainsFunc(j.m.Peers(), func(p peer.Peer) bool {
		return p.ID != j.m.cfg.Self && present(p)
	})
	if alone && !j.alone {
		j.m.log.Warn().Int("contacts", tried).Msg("no contact answers and no member is known, trying on")
	}
	j.alone = alone
}

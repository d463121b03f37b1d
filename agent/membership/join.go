package membership

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// The re-join loop.
const (
	joinEvery   = 15 * time.Second
	joinTimeout = 5 * time.Second // of one contact: dial and state exchange
	joinsAtOnce = 8
)

// joiner keeps trying contacts that are not alive members. memberlist forgets the
// dead after 30 s, and the two sides of a healed partition know nothing of each
// other then.
type joiner struct {
	m *Membership

	mu      sync.Mutex
	who     map[string]peer.ID // whom a contact turned out to be
	reached int                // in this round
	alone   bool               // it has been said that nobody answers
}

// run tries at once, and every 15 s.
func (j *joiner) run(ctx context.Context) {
	tick := time.NewTicker(joinEvery)
	defer tick.Stop()
	for {
		j.round(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// round tries every contact that needs it and waits for all.
func (j *joiner) round(ctx context.Context) {
	contacts := slices.Clone(j.m.cfg.Contacts())
	slices.Sort(contacts)
	contacts = slices.Compact(contacts)
	j.remember(contacts)
	due := slices.DeleteFunc(contacts, j.here)

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
	j.m.log.Info().Str(logs.Addr, contact).Msg("contact joined")
	return nil
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

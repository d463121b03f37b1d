package pulse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// Why a question got no good answer.
var (
	// ErrDown means that there is no connection to the server that was asked, or no more.
	ErrDown = errors.New("server is not reached")
	// ErrDeposed means that a server is in a higher term than the one asked about.
	ErrDeposed = errors.New("a server is in a higher term")
	// ErrRefused means that the leader did not confirm a read.
	ErrRefused = errors.New("the leader did not confirm the read")
	// ErrEnded means that the hub has ended.
	ErrEnded = errors.New("pulse ended")
)

// question is a nonce on its way. Its fields are guarded by Hub.mu, but for the
// receiving end of answers.
type question struct {
	frame
	asked   []*link    // those whose answer is out
	answers chan reply // never blocks: one place for each of asked; closed when the hub ends
}

type reply struct {
	from peer.ID
	frame
}

// settle takes the one answer of a connection that was asked.
func (q *question) settle(l *link, f *frame) {
	i := slices.Index(q.asked, l)
	if i < 0 {
		return // it was not asked, or has answered
	}
	q.asked = slices.Delete(q.asked, i, i+1)
	q.answers <- reply{l.peer, *f}
}

// fits reports whether a frame of kind k answers the question.
func (q *question) fits(k kind) bool {
	if q.kind == kindRead {
		return k == kindRevision || k == kindRefused
	}
	return k == kindAnswer
}

// put sends a question of a kind to some servers, and says how many it asked; room is to
// how many it may be put in all. Whoever puts a question calls settled.
func (h *Hub) put(k kind, to []peer.ID, room int) (q *question, asked int, err error) {
	f := h.frame(k)
	q = &question{frame: f, asked: make([]*link, 0, room), answers: make(chan reply, room)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return nil, 0, ErrEnded
	}
	for q.nonce == 0 || h.waiting[q.nonce] != nil {
		q.nonce = rand.Uint64()
	}
	h.waiting[q.nonce] = q
	return q, h.send(q, to), nil
}

// more puts the same question to further servers.
func (h *Hub) more(q *question, to []peer.ID) (asked int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting[q.nonce] != q { // the hub has ended
		return 0
	}
	return h.send(q, to)
}

func (h *Hub) send(q *question, to []peer.ID) (asked int) {
	for _, id := range to {
		if l := h.links[id]; l != nil && !slices.Contains(q.asked, l) && l.send(q.frame) {
			q.asked = append(q.asked, l)
			asked++
		}
	}
	return asked
}

func (h *Hub) settled(q *question) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiting, q.nonce)
}

func (h *Hub) answered(l *link, f *frame) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if q := h.waiting[f.nonce]; q != nil && q.fits(f.kind) { // else it is too late
		q.settle(l, f)
	}
}

// hedge is how long a round waits for those it has asked before it asks the rest.
const hedge = 5 * time.Millisecond

// Round asks voters of the leader of term, which we are, whether they know of a higher
// term. It returns nil when a majority of all of them, ourselves counted if we are one,
// said after the call began that they do not: until the call began, nobody else can
// have been elected. As many as are needed are asked at first, those that have answered
// the last round before all, and the rest when one of them cannot answer or takes long.
// It fails with ErrDeposed; with ErrDown as soon as too few are reached, or are left to
// answer; with ErrEnded; or with ctx's error.
func (h *Hub) Round(ctx context.Context, voters []peer.ID, term uint64) error {
	if own := h.cfg.Facts().Term; own > term { // our own answer; we may have voted for another
		return fmt.Errorf("%w: we are in %d, and led %d", ErrDeposed, own, term)
	}
	r := ballot{need: len(voters)/2 + 1, term: term, of: len(voters), rest: make([]peer.ID, 0, len(voters))}
	for _, id := range voters {
		if id == h.cfg.Self {
			r.good = 1
			continue
		}
		if !slices.Contains(r.rest, id) { // nobody votes twice
			r.rest = append(r.rest, id)
		}
	}
	if r.good >= r.need {
		return nil
	}
	h.preferred.first(r.rest)
	others := len(r.rest)
	r.said = make([]peer.ID, 0, others)
	q, open, err := h.put(kindAsk, r.take(r.need-r.good), others)
	if err != nil {
		return err
	}
	defer h.settled(q)
	r.open = open
	late := time.NewTimer(hedge)
	defer late.Stop()
	for r.good < r.need {
		if r.good+r.open < r.need && len(r.rest) > 0 {
			r.open += h.more(q, r.take(len(r.rest)))
		}
		if r.good+r.open < r.need {
			return fmt.Errorf("%w: %d of %d voters can answer", ErrDown, r.good+r.open, r.of)
		}
		select {
		case a, ok := <-q.answers:
			if !ok {
				return ErrEnded
			}
			if err := r.count(a); err != nil {
				return err
			}
		case <-late.C:
			r.open += h.more(q, r.take(len(r.rest)))
		case <-ctx.Done():
			return fmt.Errorf("%d of %d voters answered: %w", r.good, r.of, ctx.Err())
		}
	}
	h.preferred.set(r.said)
	return nil
}

// ballot is the votes of one round.
type ballot struct {
	term     uint64
	need, of int
	good     int       // that have confirmed the term, ourselves counted
	open     int       // that were asked and have not answered
	rest     []peer.ID // that were not asked
	said     []peer.ID // that have confirmed
}

// take are the next n to ask.
func (b *ballot) take(n int) []peer.ID {
	n = min(n, len(b.rest))
	out := b.rest[:n]
	b.rest = b.rest[n:]
	return out
}

func (b *ballot) count(a reply) error {
	b.open--
	switch {
	case a.kind == kindLost:
	case a.Term > b.term:
		return fmt.Errorf("%w: %s is in %d, we led %d", ErrDeposed, a.from, a.Term, b.term)
	default:
		b.good++
		b.said = append(b.said, a.from)
	}
	return nil
}

// preference is who answered the last round. Its zero value is ready.
type preference struct{ ids atomic.Pointer[[]peer.ID] }

func (p *preference) set(ids []peer.ID) {
	if last := p.ids.Load(); last == nil || !slices.Equal(*last, ids) {
		kept := slices.Clone(ids)
		p.ids.Store(&kept)
	}
}

// first puts those in front of the others, whose order stays.
func (p *preference) first(ids []peer.ID) {
	if last := p.ids.Load(); last != nil {
		slices.SortStableFunc(ids, func(a, b peer.ID) int {
			return cmp.Compare(after(*last, a), after(*last, b))
		})
	}
}

func after(last []peer.ID, id peer.ID) int {
	if slices.Contains(last, id) {
		return 0
	}
	return 1
}

// Ask makes one server say how far it is now. It fails with ErrDown at once when the
// server is not reached, or its connection ends before the answer came; with ErrEnded;
// or with ctx's error.
func (h *Hub) Ask(ctx context.Context, id peer.ID) (Facts, error) {
	r, err := h.one(ctx, kindAsk, id)
	return r.Facts, err
}

// ReadIndex asks the leader for the revision that a linearizable read has to show. It
// fails as Ask does, and with ErrRefused.
func (h *Hub) ReadIndex(ctx context.Context, leader peer.ID) (revision uint64, err error) {
	r, err := h.one(ctx, kindRead, leader)
	if err != nil {
		return 0, err
	}
	if r.kind != kindRevision {
		return 0, ErrRefused
	}
	return r.argIndex, nil
}

func (h *Hub) one(ctx context.Context, k kind, id peer.ID) (reply, error) {
	q, asked, err := h.put(k, []peer.ID{id}, 1)
	if err != nil {
		return reply{}, err
	}
	defer h.settled(q)
	if asked == 0 {
		return reply{}, ErrDown
	}
	select {
	case r, ok := <-q.answers:
		switch {
		case !ok:
			return reply{}, ErrEnded
		case r.kind == kindLost:
			return reply{}, ErrDown
		}
		return r, nil
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
}

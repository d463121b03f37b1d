package pulse

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

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
	kind    kind
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

// put sends a question of a kind to some servers, and says how many it asked. Whoever
// puts a question calls forget.
func (h *Hub) put(k kind, to []peer.ID) (q *question, asked int, forget func(), err error) {
	f := h.frame(k)
	q = &question{kind: k, asked: make([]*link, 0, len(to)), answers: make(chan reply, len(to))}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return nil, 0, nil, ErrEnded
	}
	for f.nonce == 0 || h.waiting[f.nonce] != nil {
		f.nonce = rand.Uint64()
	}
	h.waiting[f.nonce] = q
	for _, id := range to {
		if l := h.links[id]; l != nil && !slices.Contains(q.asked, l) && l.send(f) {
			q.asked = append(q.asked, l)
		}
	}
	return q, len(q.asked), func() { h.forgetQuestion(f.nonce) }, nil
}

func (h *Hub) forgetQuestion(nonce uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiting, nonce)
}

func (h *Hub) answered(l *link, f *frame) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if q := h.waiting[f.nonce]; q != nil && q.fits(f.kind) { // else it is too late
		q.settle(l, f)
	}
}

// Round asks the voters of the leader of term, which we are, whether they know of a
// higher term. It returns nil when a majority of them, ourselves counted if we are one,
// said after the call began that they do not: until the call began, nobody else can
// have been elected. It fails with ErrDeposed; with ErrDown as soon as too few are
// reached, or are left to answer; with ErrEnded; or with ctx's error.
func (h *Hub) Round(ctx context.Context, voters []peer.ID, term uint64) error {
	if own := h.cfg.Facts().Term; own > term { // our own answer; we may have voted for another
		return fmt.Errorf("%w: we are in %d, and led %d", ErrDeposed, own, term)
	}
	others := make([]peer.ID, 0, len(voters))
	good, need := 0, len(voters)/2+1
	for _, id := range voters {
		if id == h.cfg.Self {
			good = 1
			continue
		}
		others = append(others, id)
	}
	if good >= need {
		return nil
	}
	q, open, forget, err := h.put(kindAsk, others)
	if err != nil {
		return err
	}
	defer forget()
	for good < need {
		if good+open < need {
			return fmt.Errorf("%w: %d of %d voters can answer", ErrDown, good+open, len(voters))
		}
		select {
		case r, ok := <-q.answers:
			open--
			switch {
			case !ok:
				return ErrEnded
			case r.kind == kindLost:
			case r.Term > term:
				return fmt.Errorf("%w: %s is in %d, we led %d", ErrDeposed, r.from, r.Term, term)
			default:
				good++
			}
		case <-ctx.Done():
			return fmt.Errorf("%d of %d voters answered: %w", good, len(voters), ctx.Err())
		}
	}
	return nil
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
	q, asked, forget, err := h.put(k, []peer.ID{id})
	if err != nil {
		return reply{}, err
	}
	defer forget()
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

package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// Commands for the same leader travel together: whoever finds no flight under way starts
// one, and what arrives meanwhile waits and becomes the next. So an entry of the leader's
// log holds many of them. When no flight has left for a while, the one under way has met
// something slow, and another leaves for those who wait.
//
//	Apply --> waiting -----> flight: POST /v1/internal/apply --> outcomes
//	Apply --> waiting --/

var _ consensus.Forwarder = (*Forwarder)(nil)

const (
	maxFlights     = 4
	flightPatience = 10 * time.Millisecond
)

type lane struct {
	waiting  []*cargo
	flights  int
	departed time.Time // the last one
	watched  bool      // relieve is going to look
}

// cargo is one command that waits for its flight, and then for its outcome.
type cargo struct {
	item applyItem
	done chan outcome // has room for the one
}

type outcome struct {
	result fsm.Result
	err    error
}

type credentialKey struct{}

// WithCredential carries a caller's token to Forwarder.Apply, which sends it to the
// leader; "" is none.
func WithCredential(ctx context.Context, token string) context.Context {
	return context.WithValue(ctx, credentialKey{}, token)
}

func credential(ctx context.Context) string {
	token, _ := ctx.Value(credentialKey{}).(string)
	return token
}

// Apply implements consensus.Forwarder: it proposes at the leader, which checks
// the caller anew, by the token in ctx or else by the proposal's actor. Errors: a
// *consensus.NotSentError when nothing was done; one that wraps
// consensus.ErrDenied, and a *Problem, when the caller was refused; any other
// when the outcome is not known. A refusal by the state is in the result.
func (f *Forwarder) Apply(ctx context.Context, leader peer.ID, p fsm.Proposal) (fsm.Result, error) {
	cmd, err := fsm.Encode(p.Command)
	if err != nil {
		return fsm.Result{}, err
	}
	w := &cargo{done: make(chan outcome, 1), item: applyItem{
		ID: p.ID, Known: p.Known, Kind: actorName(p.Actor.Kind), Actor: p.Actor.ID, Command: cmd,
	}}
	if p.Actor.Kind == fsm.ActorToken {
		w.item.Token = credential(ctx)
	}
	if err := f.board(leader, w); err != nil {
		return fsm.Result{}, err
	}
	select {
	case o := <-w.done:
		return o.result, o.err
	case <-ctx.Done():
		if f.leave(leader, w) {
			return fsm.Result{}, &consensus.NotSentError{Err: ctx.Err()}
		}
		return fsm.Result{}, fmt.Errorf("wait for the leader's answer: %w", ctx.Err())
	}
}

func (f *Forwarder) board(leader peer.ID, w *cargo) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return &consensus.NotSentError{Err: errForwarderClosed}
	}
	l := f.lanes[leader]
	if l == nil {
		l = new(lane)
		f.lanes[leader] = l
	}
	l.waiting = append(l.waiting, w)
	if l.flights == 0 {
		f.start(leader, l)
	} else if !l.watched && l.flights < maxFlights {
		f.watch(leader, l)
	}
	return nil
}

// start, with f locked, begins a flight.
func (f *Forwarder) start(leader peer.ID, l *lane) {
	l.flights++
	l.departed = time.Now()
	f.wg.Go(func() { f.fly(leader, l) })
}

// watch, with f locked, looks after the flights until none is needed.
func (f *Forwarder) watch(leader peer.ID, l *lane) {
	l.watched = true
	time.AfterFunc(flightPatience-time.Since(l.departed), func() { f.relieve(leader, l) })
}

// relieve starts another flight when those who wait have seen none leave.
func (f *Forwarder) relieve(leader peer.ID, l *lane) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.watched = false
	if f.closed || len(l.waiting) == 0 || l.flights == maxFlights {
		return
	}
	if time.Since(l.departed) >= flightPatience {
		f.start(leader, l)
	}
	if l.flights < maxFlights {
		f.watch(leader, l)
	}
}

// leave takes a command back that has not been sent.
func (f *Forwarder) leave(leader peer.ID, w *cargo) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.lanes[leader]
	if l == nil {
		return false
	}
	i := slices.Index(l.waiting, w)
	if i < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	return true
}

// fly sends what waits until nothing does, or others do it.
func (f *Forwarder) fly(leader peer.ID, l *lane) {
	for first := true; ; first = false {
		batch := f.load(leader, l, first)
		if len(batch) == 0 {
			return
		}
		out := f.deliver(leader, batch)
		if !f.shows(out) {
			f.settle(batch, out)
			continue
		}
		hand(batch, out)
	}
}

// hand tells each command its outcome.
func hand(batch []*cargo, out []outcome) {
	for i, o := range out {
		batch[i].done <- o
	}
}

// settleWait is how long outcomes wait for this node's state. It comes right behind the
// answer; if it does not, callers wait for it themselves.
const settleWait = 50 * time.Millisecond

// settle hands outcomes out when this node shows them, while the next flight is under way:
// one waits, and not each of those who are about to look.
func (f *Forwarder) settle(batch []*cargo, out []outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		hand(batch, out)
		return
	}
	f.wg.Go(func() {
		end := time.NewTimer(settleWait)
		defer end.Stop()
		for {
			newer := f.view().Newer()
			if f.shows(out) {
				break
			}
			select {
			case <-newer:
				continue
			case <-end.C:
			case <-f.ctx.Done():
			}
			break
		}
		hand(batch, out)
	})
}

// shows reports whether this node's state has all that came of a flight.
func (f *Forwarder) shows(out []outcome) bool {
	if f.view == nil {
		return true
	}
	last := uint64(0)
	for _, o := range out {
		last = max(last, o.result.Revision)
	}
	return f.view().Revision() >= last
}

// load takes the next batch; when there is none, the flight is over.
func (f *Forwarder) load(leader peer.ID, l *lane, first bool) []*cargo {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, bytes := 0, 0
	if !first && l.flights > 1 && time.Since(l.departed) < flightPatience {
		l.flights-- // it was slow; the others are not
		if len(l.waiting) > 0 && !l.watched {
			f.watch(leader, l)
		}
		return nil
	}
	for n < len(l.waiting) && n < fsm.MaxEntryItems {
		bytes += len(l.waiting[n].item.Command)
		if n > 0 && bytes > fsm.MaxEntryBytes {
			break
		}
		n++
	}
	l.departed = time.Now()
	batch := slices.Clone(l.waiting[:n])
	l.waiting = slices.Delete(l.waiting, 0, n)
	if n == 0 {
		if l.flights--; l.flights == 0 && f.lanes[leader] == l {
			delete(f.lanes, leader)
		}
	}
	return batch
}

func (f *Forwarder) deliver(leader peer.ID, batch []*cargo) []outcome {
	ctx, cancel := context.WithTimeout(f.ctx, forwardTimeout)
	defer cancel()
	in := applyRequest{Items: make([]applyItem, len(batch))}
	for i, w := range batch {
		in.Items[i] = w.item
	}
	var answer applyAnswer
	err := f.flight(ctx, leader, &in, &answer)
	if err == nil && len(answer.Items) != len(batch) {
		err = fmt.Errorf("call node %s: %d results for %d commands", leader, len(answer.Items), len(batch))
	}
	out := make([]outcome, len(batch))
	for i := range out {
		if err != nil {
			out[i].err = denied(err)
		} else {
			out[i] = outcomeOf(answer.Items[i])
		}
	}
	return out
}

// denied marks the other agent's refusal of a whole call as final.
func denied(err error) error {
	var p *Problem
	if errors.As(err, &p) && p.Status < http.StatusInternalServerError {
		return fmt.Errorf("%w: %w", consensus.ErrDenied, p)
	}
	return err
}

func outcomeOf(r applyResult) outcome {
	switch {
	case r.Problem == nil:
		return outcome{result: fsm.Result{Revision: r.Revision, Code: r.Code, Message: r.Message, Repeated: r.Repeated}}
	case r.Problem.Code == CodeNotLeader:
		return outcome{err: &consensus.NotSentError{Err: consensus.ErrNotLeader}}
	case r.Problem.Code == CodeBusy:
		return outcome{err: &consensus.NotSentError{Err: consensus.ErrBusy}}
	case r.Problem.Code == CodeUnknownOutcome:
		return outcome{err: fmt.Errorf("propose at the leader: %w", r.Problem)}
	}
	return outcome{err: fmt.Errorf("%w: %w", consensus.ErrDenied, r.Problem)}
}

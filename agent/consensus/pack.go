package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/fsm"
)

// The leader packs the commands that wait into one Raft entry, up to what an entry
// may hold, and has two entries under way: while one is on its way to the disks, the
// next fills. Nobody waits for company; a command that is alone goes alone.
//
//	Propose --> queue --> gather --> entry --> raft.Apply --> []Result
//	              |                    |                        |
//	           full: ErrBusy     stamped here          one for each command
const (
	queueLength     = 4096 // commands
	entriesInFlight = 2
)

// ErrBusy means that more commands wait for the leader than it takes.
var ErrBusy = errors.New("too many commands are waiting")

// parcel is one command on its way into an entry.
type parcel struct {
	item  fsm.Item
	state atomic.Int32 // one of the below
	out   Outcome      // to be read when it is answered
	of    *shipment
}

const (
	parcelWaits = iota
	parcelTaken
	parcelWithdrawn
	parcelAnswered
)

// Outcome is what became of one command.
type Outcome struct {
	Result fsm.Result
	Err    error
}

// take claims a parcel for an entry, withdraw takes it back: one of the two succeeds.
func (p *parcel) take() bool     { return p.state.CompareAndSwap(parcelWaits, parcelTaken) }
func (p *parcel) withdraw() bool { return p.state.CompareAndSwap(parcelWaits, parcelWithdrawn) }

// answer is given once, by whoever has the parcel.
func (p *parcel) answer(o Outcome) {
	p.out = o
	p.state.Store(parcelAnswered)
	if p.of.left.Add(-1) == 0 {
		close(p.of.done)
	}
}

// shipment is the parcels of one call.
type shipment struct {
	left atomic.Int32  // that are not answered
	done chan struct{} // closed when none is left
}

// Propose proposes a command here, and only here: it fails with ErrNotLeader (as a
// NotSentError) when this node does not lead. It returns when ctx ends, with
// ErrUnknown if the command may still be applied.
func (s *Store) Propose(ctx context.Context, p fsm.Proposal) (fsm.Result, error) {
	o := s.ProposeAll(ctx, []fsm.Proposal{p})[0]
	return o.Result, o.Err
}

// ProposeAll is Propose for several commands at once. They stand next to each other in
// the queue and have nothing else in common. It returns when each has its outcome.
func (s *Store) ProposeAll(ctx context.Context, ps []fsm.Proposal) []Outcome {
	if len(ps) == 0 {
		return nil // nobody would ever answer
	}
	began := time.Now()
	parcels, ship := make([]parcel, len(ps)), &shipment{done: make(chan struct{})}
	ship.left.Store(int32(len(ps)))
	for i := range ps {
		parcels[i].of = ship
		s.post(ctx, &parcels[i], &ps[i])
	}
	select {
	case <-ship.done:
	case <-ctx.Done():
	}
	out := make([]Outcome, len(ps))
	for i := range parcels {
		out[i] = s.collect(ctx, &parcels[i], began)
	}
	return out
}

// post puts a command into the queue, or answers why it cannot be there.
func (s *Store) post(ctx context.Context, w *parcel, p *fsm.Proposal) {
	cmd, err := fsm.Encode(p.Command)
	if err != nil {
		w.answer(Outcome{Err: err})
		return
	}
	if err := s.enter(ctx); err != nil {
		w.answer(Outcome{Err: &NotSentError{err}})
		return
	}
	w.item = fsm.Item{ID: p.ID, Known: p.Known, Actor: p.Actor, Command: cmd}
	select {
	case s.queue <- w:
	default:
		s.calls.end()
		s.stats.proposals.WithLabelValues("busy").Inc()
		w.answer(Outcome{Err: &NotSentError{ErrBusy}})
	}
}

// collect is the outcome of a command whose caller waits no longer.
func (s *Store) collect(ctx context.Context, w *parcel, began time.Time) Outcome {
	if w.withdraw() {
		s.calls.end()
		return Outcome{Err: &NotSentError{ctx.Err()}}
	}
	if w.state.Load() != parcelAnswered {
		return Outcome{Err: proposeError(&leftError{ctx.Err()})}
	}
	if w.out.Err == nil {
		s.stats.proposals.WithLabelValues("applied").Inc()
		s.stats.applySeconds.Observe(time.Since(began).Seconds())
	}
	return w.out
}

// finish answers a parcel that was taken.
func (s *Store) finish(w *parcel, o Outcome) {
	if o.Err != nil {
		s.stats.proposals.WithLabelValues("failed").Inc()
		o.Err = proposeError(o.Err)
	}
	w.answer(o)
	s.calls.end()
}

// pack makes entries of what waits until the store stops.
func (s *Store) pack() {
	slots := make(chan struct{}, entriesInFlight)
	var next *parcel // did not fit into the last entry
	for {
		first := next
		if first == nil {
			select {
			case first = <-s.queue:
			case <-s.stop:
				s.dismiss(nil)
				return
			}
		}
		select {
		case slots <- struct{}{}:
		case <-s.stop:
			s.dismiss(first)
			return
		}
		var batch []*parcel
		batch, next = gather(first, s.queue)
		if len(batch) == 0 {
			<-slots
			continue
		}
		s.launch(batch, func() { <-slots })
	}
}

// size is what a parcel adds to an entry, or a little more: ID, revision and lengths
// take 40 bytes at most.
func (p *parcel) size() int {
	return 40 + len(p.item.Actor.ID) + len(p.item.Actor.Via) + len(p.item.Command)
}

// gather takes first and what waits behind it, as much as an entry holds. Whoever
// was withdrawn is left out; next is one that was looked at and did not fit.
func gather(first *parcel, queue <-chan *parcel) (batch []*parcel, next *parcel) {
	size := 0
	for w := first; ; {
		if batch != nil && size+w.size() > fsm.MaxEntryBytes {
			return batch, w
		}
		if w.take() {
			batch = append(batch, w)
			size += w.size()
		}
		if len(batch) == fsm.MaxEntryItems {
			return batch, nil
		}
		select {
		case w = <-queue:
		default:
			return batch, nil
		}
	}
}

// launch sends an entry and answers its commands when it has been applied. done is
// called then.
func (s *Store) launch(batch []*parcel, done func()) {
	items := make([]fsm.Item, len(batch))
	for i, w := range batch {
		items[i] = w.item
	}
	entry, err := fsm.EncodeEntry(fsm.Entry{Now: fsm.StampOf(s.now()), Items: items})
	if err != nil {
		for _, w := range batch {
			s.finish(w, Outcome{Err: err})
		}
		done()
		return
	}
	s.stats.entryCommands.Observe(float64(len(batch)))
	term := s.raft.CurrentTerm()
	f := s.raft.Apply(entry, applyTimeout)
	go func() { // ends with the future, which Close waits for
		results, err := applied(f, len(batch))
		if err == nil && s.raft.CurrentTerm() == term { // then the entry is of this term
			s.committed.Store(&mark{f.Index(), term})
		}
		done()
		for i, w := range batch {
			if err != nil {
				s.finish(w, Outcome{Err: err})
			} else {
				s.finish(w, Outcome{Result: results[i]})
			}
		}
	}()
}

// applied waits for an entry's results.
func applied(f raft.ApplyFuture, n int) ([]fsm.Result, error) {
	if err := f.Error(); err != nil {
		return nil, err
	}
	switch out := f.Response().(type) {
	case []fsm.Result:
		if len(out) == n {
			return out, nil
		}
		return nil, fmt.Errorf("apply: %d results for %d commands", len(out), n)
	case error:
		return nil, fmt.Errorf("apply: %w", out)
	default:
		return nil, fmt.Errorf("apply: unexpected answer %T", out)
	}
}

// dismiss refuses what still waits when the store stops.
func (s *Store) dismiss(first *parcel) {
	for w := first; ; {
		if w != nil && w.take() {
			s.finish(w, Outcome{Err: &NotSentError{ErrClosed}})
		}
		select {
		case w = <-s.queue:
		default:
			return
		}
	}
}

package door

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
)

// Questions for the same agent travel together, without being delayed for it:
// whoever finds fewer than maxAskFlights calls under way starts one, and what
// arrives meanwhile waits and becomes the next. When a thousand users arrive at
// once, the first second would else be spent on opening a connection for each.
const (
	maxAskFlights = 2
	maxQuestions  = 64 // in one call
)

// asker is ready as its zero value.
type asker struct {
	mu    sync.Mutex
	lanes map[peer.ID]*askLane
}

type askLane struct {
	waiting []*question
	flights int
}

// question waits for its answer, which is nil when the call failed.
type question struct {
	askRequest
	answered chan []placement.Answer // has room for the one
}

var errNoAnswer = errors.New("the agent did not answer")

// board queues a question and reports whether the caller must fly the lane.
func (a *asker) board(node peer.ID, q *question) (fly bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.lanes[node]
	if l == nil {
		l = new(askLane)
		if a.lanes == nil {
			a.lanes = map[peer.ID]*askLane{}
		}
		a.lanes[node] = l
	}
	l.waiting = append(l.waiting, q)
	if l.flights >= maxAskFlights {
		return false
	}
	l.flights++
	return true
}

// load takes the next batch; when there is none, the flight is over.
func (a *asker) load(node peer.ID) []*question {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.lanes[node]
	n := min(len(l.waiting), maxQuestions)
	batch := slices.Clone(l.waiting[:n])
	l.waiting = slices.Delete(l.waiting, 0, n)
	if n == 0 {
		if l.flights--; l.flights == 0 {
			delete(a.lanes, node)
		}
	}
	return batch
}

// askNode asks one agent for a place and waits for as long as ctx allows. The call
// itself goes on for a while after that, so that a connection which is slow to open
// is there for the next one.
func (d *Door) askNode(ctx context.Context, node peer.ID, r askRequest) ([]placement.Answer, error) {
	q := &question{askRequest: r, answered: make(chan []placement.Answer, 1)}
	d.letAsk(node, q)
	select {
	case as := <-q.answered:
		if as == nil {
			return nil, errNoAnswer
		}
		return as, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// letAsk sends a question on its way.
func (d *Door) letAsk(node peer.ID, q *question) {
	if d.asker.board(node, q) {
		d.spawn(func() { d.flyAsks(node) })
	}
}

func (d *Door) flyAsks(node peer.ID) {
	for batch := d.asker.load(node); len(batch) > 0; batch = d.asker.load(node) {
		d.carryAsks(node, batch)
	}
}

func (d *Door) carryAsks(node peer.ID, batch []*question) {
	ctx, cancel := context.WithTimeout(d.life.ctx, askLife)
	defer cancel()
	in := askBatch{Questions: make([]askRequest, len(batch))}
	for i, q := range batch {
		in.Questions[i] = q.askRequest
	}
	var out answerBatch
	err := d.control(ctx, node, askPath, in, &out)
	if err != nil {
		d.log.Debug().Str("peer", string(node)).Err(err).Msg("no answer to questions for places")
	}
	for i, q := range batch {
		if err != nil || i >= len(out.Answers) { // part of a bad answer is none
			q.answered <- nil
			continue
		}
		as := make([]placement.Answer, 0, len(out.Answers[i].Engines))
		for _, o := range out.Answers[i].Engines {
			as = append(as, o.answer(node))
		}
		q.answered <- as
	}
}

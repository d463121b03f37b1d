package door

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// A door finds out about an agent that hangs or is cut off before gossip does, and
// only if somebody waits for it:
//
//	somebody waits, and nothing was heard for a quarter of node.fail_after
//	  -> the agent is asked; and, if it does not answer at once, a few others whether
//	     they reach it
//	no answer in the other three quarters, or in up to twice that while something else comes:
//	  another agent reaches it      unheard   requests go through that one
//	  another one does not either   gone      its sessions move
//	nobody could be asked           present   gossip has to decide
//
// What an agent sends on other connections earns it that time because it may be late with one
// answer while it has its hands full: with the WebSockets of another door that come all at once,
// say. To end ours over that would make more of them. But one that is starved sends a byte now and
// then, too.
//
// One agent's word is never enough to move a session, for that loses the user's work
// (SWIM asks in the same way before it suspects: Das, Gupta, Motivala, 2002, 3.1). Once
// the agent answers again, it is present.
type standing uint8

// The standings.
const (
	present standing = iota
	unheard
	gone
)

// Times of the vigil that do not follow from node.fail_after.
const (
	lookEvery    = 100 * time.Millisecond
	checkEvery   = time.Second            // the connections on which a request waits, by the kernel
	askAgain     = 500 * time.Millisecond // an agent that is not present, after the last inquiry
	maxWitnesses = 4                      // who then begin to look themselves, before users come to them
	maxReachTime = time.Minute            // that another agent may ask for
)

// patience is how long an agent may be silent until it is asked, and until it is given
// up after that, and what another agent has for finding out.
func patience(failAfter time.Duration) (quiet, limit, witness time.Duration) {
	return failAfter / 4, failAfter * 3 / 4, failAfter / 2
}

// vigil is what a door knows of agents that do not answer. Its zero value is ready.
type vigil struct {
	mu    sync.Mutex
	nodes map[peer.ID]*watched // those that are asked, or not present
}

type watched struct {
	standing standing
	via      peer.ID       // with unheard: who reaches it
	asking   chan struct{} // closed when the inquiry under way ends; nil: none is
	asked    time.Time     // when the last one ended
}

// of is how an agent stands, and through whom it is reached while it is unheard.
func (v *vigil) of(id peer.ID) (standing, peer.ID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if w := v.nodes[id]; w != nil {
		return w.standing, w.via
	}
	return present, ""
}

// begin starts an inquiry: do is true for the caller that has to carry it out. ended is
// closed at its end.
func (v *vigil) begin(id peer.ID) (ended chan struct{}, do bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := v.nodes[id]
	if w == nil {
		w = new(watched)
		if v.nodes == nil {
			v.nodes = map[peer.ID]*watched{}
		}
		v.nodes[id] = w
	}
	if w.asking != nil {
		return w.asking, false
	}
	w.asking = make(chan struct{})
	return w.asking, true
}

// end notes what an inquiry found; it reports whether that is new.
func (v *vigil) end(id peer.ID, s standing, via peer.ID, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := v.nodes[id]
	changed := w.standing != s
	close(w.asking)
	if s == present {
		delete(v.nodes, id)
		return changed
	}
	*w = watched{standing: s, via: via, asked: now}
	return changed
}

// due are the agents that are not present and shall be asked again.
func (v *vigil) due(now time.Time) []peer.ID {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []peer.ID
	for id, w := range v.nodes {
		if w.asking == nil && now.Sub(w.asked) >= askAgain {
			out = append(out, id)
		}
	}
	return out
}

// watchLoop looks after the agents that somebody waits for, until the door closes.
func (d *Door) watchLoop() {
	tick, check := time.NewTicker(lookEvery), time.NewTicker(checkEvery)
	defer tick.Stop()
	defer check.Stop()
	for {
		select {
		case <-d.life.ctx.Done():
			return
		case <-tick.C:
			d.look()
		case <-check.C:
			for _, pool := range d.peers.all() {
				pool.CheckSilent()
			}
		}
	}
}

// look begins the inquiries that are due.
func (d *Door) look() {
	quiet, _, _ := patience(d.settings().Place.NodeFailAfter)
	now := d.cfg.Now()
	ask := d.vigil.due(now)
	for id, pool := range d.peers.all() {
		silent := pool.Silence()
		if d.sockets.any(id) { // a WebSocket waits all the time
			silent = max(silent, now.Sub(pool.Heard()))
		}
		if silent >= quiet {
			ask = append(ask, id)
		}
	}
	for _, id := range ask {
		d.inquire(id)
	}
}

// inquire has an agent asked whether it is there, unless it is being asked. The
// channel is closed when that is known.
func (d *Door) inquire(id peer.ID) <-chan struct{} {
	ended, do := d.vigil.begin(id)
	if do {
		d.life.spawns.Lock()
		defer d.life.spawns.Unlock()
		if d.life.closing {
			d.vigil.end(id, present, "", d.cfg.Now())
			return ended
		}
		d.life.asks.Go(func() { d.inquiry(id) })
	}
	return ended
}

// inquiry asks an agent and, if it does not answer at once, others; and acts.
func (d *Door) inquiry(id peer.ID) {
	_, limit, within := patience(d.settings().Place.NodeFailAfter)
	began, pool := d.cfg.Now(), d.peers.to(id)
	ctx, cancel := context.WithTimeout(d.life.ctx, 2*limit)
	defer cancel()
	answered := make(chan bool, 1)
	go func() { answered <- d.answers(ctx, id) }()
	var here bool
	var words []testimony
	select {
	case here = <-answered:
	case <-time.After(limit - within):
		words = d.witnesses(ctx, id, within)
		here = d.lateAnswer(answered, began, limit, pool.Heard)
	}
	if !here && words == nil && ctx.Err() == nil { // it refused before anybody else was asked
		words = d.witnesses(ctx, id, within)
	}
	s, via := verdict(here, words)
	if d.life.ctx.Err() != nil {
		s = present
	}
	if changed := d.vigil.end(id, s, via, d.cfg.Now()); changed {
		d.metrics.stood(s)
		d.log.Info().Str(logs.Peer, d.nodeName(id)).Str(fieldStanding, s.String()).Msg("another agent stands differently")
	}
	if s == present {
		return
	}
	pool.CutSilent()
	// Nothing comes through these; whoever opens another one gets it by way of the witness.
	closeSockets(d.sockets.of(func(node peer.ID) bool { return node == id }), closeServiceRestart)
}

// lateAnswer waits for the answer to a question: for limit, and for up to as long again while
// something else was heard less than node.fail_after ago.
func (d *Door) lateAnswer(answered <-chan bool, began time.Time, limit time.Duration, heard func() time.Time) bool {
	for {
		by := began.Add(limit)
		if h := heard(); h.After(began) {
			by = h.Add(d.settings().Place.NodeFailAfter)
		}
		if last := began.Add(2 * limit); by.After(last) {
			by = last
		}
		left := by.Sub(d.cfg.Now())
		if left <= 0 {
			return false
		}
		select {
		case here := <-answered:
			return here
		case <-time.After(left):
		}
	}
}

// testimony is what another agent says.
type testimony struct {
	of      peer.ID
	reaches bool
}

// verdict decides from an agent's own answer and from the others' words.
func verdict(here bool, words []testimony) (standing, peer.ID) {
	if here || len(words) == 0 {
		return present, ""
	}
	if i := slices.IndexFunc(words, func(w testimony) bool { return w.reaches }); i >= 0 {
		return unheard, words[i].of
	}
	return gone, ""
}

func (s standing) String() string {
	switch s {
	case unheard:
		return "unheard"
	case gone:
		return "gone"
	}
	return "present"
}

// answers reports whether an agent answers while ctx lasts.
func (d *Door) answers(ctx context.Context, id peer.ID) bool {
	var out answerBatch
	return d.control(ctx, id, askPath, askBatch{}, &out) == nil
}

type reachRequest struct {
	Node   peer.ID `json:"node"`
	Within int64   `json:"within_ms"`
}

type reachAnswer struct {
	Reaches bool `json:"reaches"`
}

// witnesses asks a few other agents whether they reach one, which they have time
// within for; it returns the words of those that answered while ctx lasts.
func (d *Door) witnesses(ctx context.Context, id peer.ID, within time.Duration) []testimony {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within+lookEvery)
	defer cancel()
	asked := d.othersThan(id)
	got := make(chan *testimony, len(asked))
	for _, other := range asked {
		go func() {
			var a reachAnswer
			if err := d.control(ctx, other, reachPath, reachRequest{id, within.Milliseconds()}, &a); err != nil {
				got <- nil
				return
			}
			got <- &testimony{other, a.Reaches}
		}()
	}
	var words []testimony
	for range asked {
		if w := <-got; w != nil {
			words = append(words, *w)
		}
	}
	return words
}

// othersThan are a few living agents but that one, and this one. They are the same
// for all requests to it, so that connections are shared.
func (d *Door) othersThan(id peer.ID) []peer.ID {
	dir := d.cfg.Directory()
	if dir == nil {
		return nil
	}
	var out []peer.ID
	for other, n := range dir.Nodes {
		if s, _ := d.vigil.of(other); s == present && other != id && other != d.cfg.Self && n.Status == peer.StatusAlive {
			out = append(out, other)
		}
	}
	slices.Sort(out)
	return out[:min(len(out), maxWitnesses)]
}

// answerReach is a witness's side: it asks the agent itself.
func (d *Door) answerReach(q reachRequest) (reachAnswer, error) {
	within := min(time.Duration(q.Within)*time.Millisecond, maxReachTime)
	dir := d.cfg.Directory()
	if q.Node == d.cfg.Self || within <= 0 || dir == nil {
		return reachAnswer{}, errors.New("question for an agent is malformed")
	}
	if info, known := dir.Nodes[q.Node]; !known || lostNode(info.Status) {
		return reachAnswer{}, nil
	}
	ctx, cancel := context.WithTimeout(d.life.ctx, within)
	defer cancel()
	return reachAnswer{Reaches: d.answers(ctx, q.Node)}, nil
}

package door

import (
	"context"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
)

// binding is a session and the engine that it belongs to.
type binding struct {
	session   SessionID
	engine    peer.EngineID
	issued    time.Time // when the session began
	open      opening   // "" when it is open already
	movedFrom string    // name of the node that it had to leave
}

// want is a session that needs an engine.
type want struct {
	session SessionID
	issued  time.Time
	open    opening
	from    peer.EngineID // with openMove
	exclude []peer.EngineID
	request FilterRequest
}

// placeRounds is how often two engines are asked before the door gives up: when
// both refuse, the reports were old.
const placeRounds = 3

// place finds an engine for a session. The engine's owner keeps the place for two
// seconds, unless nobody answered in time.
func (d *Door) place(ctx context.Context, w want) (binding, *problem) {
	b := binding{session: w.session, issued: w.issued, open: w.open}
	if w.from != "" {
		b.movedFrom = d.nodeName(w.from.Node())
	}
	cs, pr := d.candidates(w)
	if pr != nil {
		d.metrics.place("none")
		return b, pr
	}
	if w.open == openKey {
		rendezvous(w.session, cs)
		b.engine = cs[0].Engine
		return b, nil
	}
	var ok bool
	if b.engine, ok = d.askRounds(ctx, w, cs); !ok {
		d.metrics.place("refused")
		return b, problemNoEngine
	}
	return b, nil
}

// candidates are the engines that may take the session; a problem when there are none.
func (d *Door) candidates(w want) ([]placement.Candidate, *problem) {
	dir := d.cfg.Directory()
	if dir == nil {
		return nil, problemNotReady
	}
	all := d.corrected(dir, w.request.Document)
	var cs []placement.Candidate
	if w.open == openKey {
		cs = slices.DeleteFunc(all, func(c placement.Candidate) bool {
			return lostNode(c.Status) || c.Health == peer.Dead || c.State == peer.StateStandby || slices.Contains(w.exclude, c.Engine)
		})
	} else {
		cs = placement.Filter(all, placement.Request{Exclude: w.exclude})
	}
	if len(cs) == 0 {
		return nil, problemNoEngine
	}
	if d.cfg.Filter != nil {
		if cs = slices.Clone(d.cfg.Filter(w.request, cs)); len(cs) == 0 {
			return nil, problemNoRule
		}
	}
	return cs, nil
}

// corrected are all engines with what this door knows better than the reports: the
// engines beside it, and what it opened elsewhere since.
func (d *Door) corrected(dir *Directory, document string) []placement.Candidate {
	now := d.cfg.Now()
	most := d.settings().Place.MaxSessionsPerEngine
	cs := slices.Clone(dir.Engines)
	for i := range cs {
		c := &cs[i]
		if most > 0 && (c.MaxSessions == 0 || most < c.MaxSessions) {
			c.MaxSessions = most
		}
		if document != "" {
			_, c.HoldsDocument = slices.BinarySearch(dir.Documents[c.Engine], document)
		}
		if c.Engine.Node() != d.cfg.Self {
			c.Own = d.chooser.since(c.Engine, dir.Nodes[c.Engine.Node()].Reported, now)
			continue
		}
		e := d.owner.engines[c.Engine.Name()]
		if e == nil {
			c.Health = peer.Dead
			continue
		}
		c.Own, c.Load.Sessions, c.Load.InFlight = 0, e.count(), int(e.inFlight.Load())
		c.Health, _ = e.Health()
		c.MaxSessions, c.Status, c.Local = d.owner.limit(e), peer.StatusAlive, true
	}
	return cs
}

// askRounds chooses two, asks them and takes the better; those that refuse are out.
func (d *Door) askRounds(ctx context.Context, w want, cs []placement.Candidate) (peer.EngineID, bool) {
	strategy := d.settings().Place.Strategy
	for range placeRounds {
		first, second := d.chooser.choose(strategy, cs)
		if first < 0 {
			return "", false
		}
		asked := []placement.Candidate{cs[first]}
		if second >= 0 {
			asked = append(asked, cs[second])
		}
		at := d.cfg.Now()
		answers, late := d.ask(ctx, w, asked)
		if len(answers) > 0 {
			answers = append(answers, d.presumed(asked, late)...)
		}
		if best := d.chooser.settle(strategy, asked, answers, at, d.cfg.Now()); best >= 0 {
			d.metrics.place("asked")
			d.letGo(w.session, asked[best].Engine, answers)
			return asked[best].Engine, true
		}
		cs = slices.DeleteFunc(cs, func(c placement.Candidate) bool {
			return slices.ContainsFunc(answers, func(a placement.Answer) bool { return a.Engine == c.Engine })
		})
		if len(answers) == len(asked) {
			continue // all refused
		}
		if i := d.chooser.powerOfTwo(strategy, cs); i >= 0 {
			d.metrics.place("guessed")
			d.chooser.note(cs[i].Engine, d.cfg.Now())
			return cs[i].Engine, true
		}
	}
	return "", false
}

// reportFresh is how old a load report may be to show that a node which did not
// answer a question in time is slow rather than gone.
const reportFresh = 3 * time.Second

// presumed are the answers of those that were asked and are late, as far as their
// reports tell. An engine beside this door always answers in time: without this, a
// burst that makes all machines slow would stay on the engine next to the door that
// it came through.
func (d *Door) presumed(asked []placement.Candidate, late []peer.ID) []placement.Answer {
	dir := d.cfg.Directory()
	now := d.cfg.Now()
	var out []placement.Answer
	for _, c := range asked {
		node := c.Engine.Node()
		if slices.Contains(late, node) && now.Sub(dir.Nodes[node].Reported) <= reportFresh {
			out = append(out, placement.Answer{Engine: c.Engine, OK: true, Load: c.Load})
		}
	}
	return out
}

// letGo gives back the places that other engines than the chosen one kept for the
// session. It is not waited for: a place that nobody gives back lapses.
func (d *Door) letGo(id SessionID, chosen peer.EngineID, answers []placement.Answer) {
	for _, a := range answers {
		node, name := a.Engine.Node(), a.Engine.Name()
		switch {
		case !a.OK || a.Engine == chosen:
		case node == d.cfg.Self:
			d.owner.release(id, name)
		default:
			r := askRequest{Session: id.String(), Engines: []string{name}, Release: true}
			d.letAsk(node, &question{askRequest: r, answered: make(chan []placement.Answer, 1)})
		}
	}
}

// pick is the index of the one that takes the session, -1 when none said yes.
func pick(s placement.Strategy, asked []placement.Candidate, answers []placement.Answer) int {
	var a [2]placement.Answer
	for i, c := range asked {
		for _, got := range answers {
			if got.Engine == c.Engine {
				got.Weight = c.Weight
				a[i] = got
			}
		}
	}
	switch {
	case placement.Better(s, a[0], a[1]):
		return 1
	case a[0].OK:
		return 0
	}
	return -1
}

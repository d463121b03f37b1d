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
	moves     uint32    // how often it has moved
	open      opening   // "" when it is open already
	movedFrom string    // name of the node that it had to leave
	decided   stamp     // when the engine was chosen; 0 when it was not chosen just now
}

// want is a session that needs an engine.
type want struct {
	session SessionID
	issued  time.Time
	moves   uint32 // this one included
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
	b := binding{session: w.session, issued: w.issued, moves: w.moves, open: w.open}
	if w.from != "" {
		b.movedFrom = d.nodeName(w.from.Node())
	}
	f, pr := d.candidates(w)
	if pr != nil {
		d.metrics.place("none")
		return b, pr
	}
	if w.open == openKey {
		rendezvous(w.session, f.open)
		b.engine = f.open[0].Engine
		return b, nil
	}
	var ok bool
	if b.engine, b.decided, ok = d.askRounds(ctx, w, &f, false); ok {
		return b, nil
	}
	// A report is a second old: only the owner's word on "full" counts.
	if b.engine, b.decided, ok = d.askRounds(ctx, w, &f, true); ok {
		return b, nil
	}
	d.metrics.place("refused")
	return b, problemNoPlace(f.closed)
}

// field are the engines that a session may go to.
type field struct {
	open   []placement.Candidate
	full   []placement.Candidate // by their reports
	closed shut
}

// candidates are the engines that may take the session; a problem when there are none.
func (d *Door) candidates(w want) (field, *problem) {
	dir := d.cfg.Directory()
	if dir == nil {
		return field{}, problemNotReady
	}
	all := d.corrected(dir, w.request.Document)
	var f field
	if w.open == openKey {
		f.open = slices.DeleteFunc(all, func(c placement.Candidate) bool {
			return lostNode(c.Status) || c.Health == peer.Dead || c.State == peer.StateStandby || slices.Contains(w.exclude, c.Engine)
		})
	} else {
		f.sort(all, w.exclude)
	}
	if len(f.open)+len(f.full) == 0 {
		return f, problemNoPlace(f.closed)
	}
	if d.cfg.Filter != nil {
		f.open, f.full = slices.Clone(d.cfg.Filter(w.request, f.open)), slices.Clone(d.cfg.Filter(w.request, f.full))
		if len(f.open)+len(f.full) == 0 {
			return f, problemNoRule
		}
	}
	return f, nil
}

func (f *field) sort(all []placement.Candidate, exclude []peer.EngineID) {
	f.closed = shut{}
	for _, c := range all {
		switch ok, reason := placement.Eligible(c, placement.Request{Exclude: exclude}); {
		case ok:
			f.open = append(f.open, c)
		case reason == placement.Full:
			f.full = append(f.full, c)
			f.closed[c.Engine] = reason
		default:
			f.closed[c.Engine] = reason
		}
	}
}

// corrected are all engines with what this door knows better than the reports: what
// the owners told it since, what it decided itself, and how the engines beside it are.
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
		d.chooser.correct(c, dir.Nodes[c.Engine.Node()].Reported, now)
		switch s, _ := d.vigil.of(c.Engine.Node()); {
		case s == gone:
			c.Status = peer.StatusFailed
		case s == unheard && c.Status == peer.StatusAlive:
			c.Status = peer.StatusSuspect
		}
		if c.Engine.Node() != d.cfg.Self {
			continue
		}
		e := d.owner.engines[c.Engine.Name()]
		if e == nil {
			c.Health = peer.Dead
			continue
		}
		c.Health, _ = e.Health()
		c.MaxSessions, c.Status, c.Local = d.owner.limit(e), peer.StatusAlive, true
	}
	return cs
}

// askRounds chooses two, asks them and takes the better; those that refuse are out,
// and why is noted. When nobody answers, the better of two random ones is taken, but
// not of those that were full when they reported.
func (d *Door) askRounds(ctx context.Context, w want, f *field, full bool) (peer.EngineID, stamp, bool) {
	strategy, cs := d.settings().Place.Strategy, f.open
	if full {
		cs = f.full
	}
	for range placeRounds {
		asked, answers := d.askTwo(ctx, w, cs)
		if len(asked) == 0 {
			return "", 0, false
		}
		if full { // what is late is not presumed to have room
			answers = slices.DeleteFunc(answers, func(h heard) bool { return h.presumed })
		}
		if best, at := d.chooser.settle(strategy, asked, answers, d.cfg.Now()); best >= 0 {
			d.metrics.place("asked")
			d.letGo(w.session, asked[best].Engine, answers)
			return asked[best].Engine, at, true
		}
		cs = f.closed.without(cs, answers)
		switch {
		case len(answers) == len(asked): // all refused
			continue
		case full:
			return "", 0, false
		}
		if i, at := d.chooser.guess(strategy, cs, d.cfg.Now()); i >= 0 {
			d.metrics.place("guessed")
			return cs[i].Engine, at, true
		}
	}
	return "", 0, false
}

// askTwo chooses two and asks them; nobody is asked when there is none.
func (d *Door) askTwo(ctx context.Context, w want, cs []placement.Candidate) (asked []placement.Candidate, answers []heard) {
	first, second := d.chooser.choose(d.settings().Place.Strategy, cs)
	for _, i := range []int{first, second} {
		if i >= 0 {
			asked = append(asked, cs[i])
		}
	}
	answers, late := d.ask(ctx, w, asked)
	if len(answers) > 0 {
		answers = append(answers, d.presumed(asked, late)...)
	}
	return asked, answers
}

// reportFresh is how old a load report may be to show that a node which did not
// answer a question in time is slow rather than gone.
const reportFresh = 3 * time.Second

// presumed are the answers of those that were asked and are late, as far as their
// reports tell. An engine beside this door always answers in time: without this, a
// burst that makes all machines slow would stay on the engine next to the door that
// it came through.
func (d *Door) presumed(asked []placement.Candidate, late []peer.ID) []heard {
	dir := d.cfg.Directory()
	now := d.cfg.Now()
	var out []heard
	for _, c := range asked {
		node := c.Engine.Node()
		if slices.Contains(late, node) && now.Sub(dir.Nodes[node].Reported) <= reportFresh {
			out = append(out, d.chooser.presume(c, dir.Nodes[node].Reported, now))
		}
	}
	return out
}

// letGo gives back the places that other engines than the chosen one kept for the
// session. It is not waited for: a place that nobody gives back lapses.
func (d *Door) letGo(id SessionID, chosen peer.EngineID, answers []heard) {
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

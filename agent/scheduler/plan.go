package scheduler

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
	"github.com/ushercluster/usher/fsm"
)

const (
	// claimLost is how long a node may take to start what it was given.
	claimLost = 15 * time.Second
	// maxRound bounds the commands of one round, and maxTaskRound those for one
	// task, so that a long list of missed times holds up nothing else.
	maxRound     = 100
	maxTaskRound = 20
)

// input is everything that a round is decided on.
type input struct {
	Tasks []*fsm.Task       // sorted by name
	Open  []*fsm.Occurrence // not terminal, sorted by task and due time
	Nodes []*fsm.Node
	Peers []peer.Peer

	// Recorded tells whether a due time has a row of any kind. (A run by hand may
	// have been asked for in the very nanosecond; the cursor then stays behind it.)
	Recorded func(fsm.OccurrenceID) bool
	Due      func(*fsm.Task, time.Time) (time.Time, error)

	Now      time.Time
	Parallel int             // attempts on one node
	Busy     map[string]bool // tasks whose commands are on their way: not touched
	Claiming map[peer.ID]int // claims on their way
	Budget   int             // commands at most
	Resume   string          // the task to begin with, or the one after it
}

// decision is what to do now, and when to look again.
type decision struct {
	Batches []batch
	Next    time.Time // zero: when something changes, or a batch has been proposed
	Resume  string    // for the next round
	Broken  []broken
}

// batch is what one task needs. The commands are proposed in order; when one is
// refused the rest is void.
type batch struct {
	Task     string
	Commands []fsm.Command
}

// broken is a task that cannot be scheduled.
type broken struct {
	Task *fsm.Task
	Err  error
}

// plan decides one round. It is pure.
//
// A lease that has run out comes first: it is what other decisions wait for. Then
// each task in turn, beginning where the last round ended, so that no task waits
// for ever behind others.
func plan(in input) decision {
	p := &planner{input: in, open: map[string][]*fsm.Occurrence{}, running: map[peer.ID]int{}, status: map[peer.ID]peer.Status{}}
	for _, o := range in.Open {
		p.open[o.Task] = append(p.open[o.Task], o)
		if o.State != fsm.OccurrencePending {
			p.running[o.Node]++
		}
	}
	for node, n := range in.Claiming {
		p.running[node] += n
	}
	p.assemble()
	p.loseAll()
	p.scheduleAll()
	return p.out
}

type planner struct {
	input
	out     decision
	open    map[string][]*fsm.Occurrence // by task
	running map[peer.ID]int              // attempts, those included that this round claims
	status  map[peer.ID]peer.Status
	workers []placement.Worker
	lost    map[string]bool // tasks whose attempt this round declares lost
}

// assemble joins what the state and gossip say of each node.
func (p *planner) assemble() {
	peers := map[peer.ID]*peer.Peer{}
	for i := range p.Peers {
		peers[p.Peers[i].ID] = &p.Peers[i]
	}
	for _, n := range p.Nodes {
		w := placement.Worker{ID: n.ID, Class: n.Class, State: n.State, Status: peer.StatusUnknown, Tags: n.Tags}
		if g := peers[n.ID]; g != nil {
			w.Status, w.Load = g.Status, g.Load
		}
		p.status[n.ID] = w.Status
		p.workers = append(p.workers, w)
	}
}

// look asks for another round at t.
func (p *planner) look(t time.Time) {
	if p.out.Next.IsZero() || t.Before(p.out.Next) {
		p.out.Next = t
	}
}

func (p *planner) add(task string, cmds ...fsm.Command) {
	p.Budget -= len(cmds)
	p.out.Batches = append(p.out.Batches, batch{Task: task, Commands: cmds})
}

// loseAll declares lost what nobody will finish, also for tasks that were removed.
func (p *planner) loseAll() {
	p.lost = map[string]bool{}
	for _, o := range p.Open {
		if o.State == fsm.OccurrencePending || p.Busy[o.Task] {
			continue
		}
		at, why := p.expiry(o)
		switch {
		case p.Now.Before(at):
			p.look(at)
		case p.Budget > 0:
			p.lost[o.Task] = true
			p.add(o.Task, &fsm.LoseOccurrence{OccurrenceID: idOf(o), Fence: o.Fence, Reason: why})
		}
	}
}

// expiry is when an attempt counts as lost, and why.
func (p *planner) expiry(o *fsm.Occurrence) (time.Time, string) {
	if o.State == fsm.OccurrenceStarted {
		return o.Renewed.Add(fsm.LeaseLost).Time(), fmt.Sprintf("node %s did not renew its lease for %s", o.Node, fsm.LeaseLost)
	}
	status, member := p.status[o.Node]
	switch {
	case !member:
		return time.Time{}, fmt.Sprintf("node %s was removed before it started", o.Node)
	case status == peer.StatusFailed || status == peer.StatusLeft:
		return time.Time{}, fmt.Sprintf("node %s %s before it started", o.Node, status)
	}
	return o.Claimed.Add(claimLost).Time(), fmt.Sprintf("node %s did not start it within %s", o.Node, claimLost)
}

func (p *planner) scheduleAll() {
	first, _ := slices.BinarySearchFunc(p.Tasks, p.Resume, func(t *fsm.Task, name string) int { return cmp.Compare(t.Name, name) })
	for i := range p.Tasks {
		t := p.Tasks[(first+i)%len(p.Tasks)]
		if p.Busy[t.Name] || p.lost[t.Name] {
			continue
		}
		if p.Budget <= 0 {
			p.out.Resume = t.Name
			return
		}
		r := &round{planner: p, task: t, limit: min(p.Budget, maxTaskRound)}
		r.decide()
		if len(r.cmds) > 0 {
			p.add(t.Name, r.cmds...)
		}
	}
}

// place picks a node for an occurrence of the task, or says why there is none. A
// node where an attempt failed is taken again only when there is no other.
func (p *planner) place(t *fsm.Task, o *fsm.Occurrence) (placement.Place, error) {
	need := placement.Need{Engine: t.Engine, Tag: t.Tag, Document: t.Document}
	var free []placement.Worker
	for _, w := range p.workers {
		if w.Running = p.running[w.ID]; w.Running < p.Parallel {
			free = append(free, w)
		}
	}
	if o != nil && len(o.History) > 0 {
		elsewhere := need
		for _, a := range o.History {
			elsewhere.Exclude = append(elsewhere.Exclude, a.Node)
		}
		if place, err := placement.RunOn(elsewhere, free); err == nil {
			return place, nil
		}
	}
	place, err := placement.RunOn(need, free)
	if err == nil || len(free) == len(p.workers) {
		return place, err
	}
	if _, busy := placement.RunOn(need, p.workers); busy == nil {
		return place, fmt.Errorf("%w (each that may run it has %d runs already, see scheduler.parallel)", placement.ErrNoWorker, p.Parallel)
	}
	return place, err
}

func idOf(o *fsm.Occurrence) fsm.OccurrenceID { return fsm.OccurrenceID{Task: o.Task, Due: o.Due} }

func never(err error) bool { return errors.Is(err, ErrNever) }

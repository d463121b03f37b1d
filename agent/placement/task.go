package placement

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/ushercluster/usher/agent/peer"
)

// Need is what a task asks of the node that runs it.
type Need struct {
	Engine   string    // name of the engine; "" for any
	Tag      string    // the node must carry it; "" for any
	Document string    // preferred where it is in memory already
	Exclude  []peer.ID // refused it, or failed at it, a moment ago
}

// Worker is a node that may run tasks.
type Worker struct {
	ID      peer.ID
	Class   peer.Class
	State   peer.State
	Status  peer.Status
	Tags    []string
	Running int // tasks claimed or started there now
	Load    peer.Load
}

// Place is where a task runs.
type Place struct {
	Node   peer.ID
	Engine string
}

// ErrNoWorker means that no node can run a task now.
var ErrNoWorker = errors.New("no node can run the task")

// RunOn picks the node for a task: an alive and active server that carries the tag
// and has a healthy engine of the wanted name; of those the one with the fewest
// running tasks, then the lowest CPU load, then the lowest ID. On the node, the
// engine that holds the document is taken before others, then the first by name.
// The error wraps ErrNoWorker and says what ruled the most promising node out.
func RunOn(n Need, workers []Worker) (Place, error) {
	var best *Worker
	var place Place
	why, depth := "there are no nodes", 0
	for i := range workers {
		w := &workers[i]
		engine, reason, d := fits(n, w)
		if reason != "" {
			if d > depth {
				why, depth = fmt.Sprintf("%s: %s", w.ID, reason), d
			}
			continue
		}
		if best == nil || compareWorkers(w, best) < 0 {
			best, place = w, Place{Node: w.ID, Engine: engine}
		}
	}
	if best == nil {
		return Place{}, fmt.Errorf("%w (%s)", ErrNoWorker, why)
	}
	return place, nil
}

func compareWorkers(a, b *Worker) int {
	return cmp.Or(cmp.Compare(a.Running, b.Running),
		cmp.Compare(a.Load.CPUPermille, b.Load.CPUPermille), cmp.Compare(a.ID, b.ID))
}

// fits names the engine of w that can run the task, or why there is none; depth
// grows with the number of conditions that w passed.
func fits(n Need, w *Worker) (engine, reason string, depth int) {
	switch {
	case w.Class != peer.ClassServer:
		return "", "is not a server", 1
	case w.Status != peer.StatusAlive:
		return "", fmt.Sprintf("is %s", w.Status), 2
	case w.State != peer.StateActive:
		return "", fmt.Sprintf("is %s", w.State), 3
	case slices.Contains(n.Exclude, w.ID):
		return "", "was tried already", 4
	case n.Tag != "" && !slices.Contains(w.Tags, n.Tag):
		return "", fmt.Sprintf("has no tag %q", n.Tag), 5
	}
	reason, depth = "has no engine", 6
	if n.Engine != "" {
		reason = fmt.Sprintf("has no engine %q", n.Engine)
	}
	holds := false
	for _, e := range w.Load.Engines {
		if n.Engine != "" && e.Name != n.Engine {
			continue
		}
		if e.Health != peer.Healthy {
			if engine == "" {
				reason, depth = fmt.Sprintf("engine %q is %s", e.Name, e.Health), 7
			}
			continue
		}
		_, here := slices.BinarySearch(e.Documents, n.Document)
		here = here && n.Document != ""
		if engine == "" || here && !holds {
			engine, holds = e.Name, here
		}
	}
	if engine != "" {
		return engine, "", 8
	}
	return "", reason, depth
}

// Package fault breaks a world in one way a file: each fault can show that all is well
// before, bring itself about, show that it bites, and heal.
//
// A fault that does not bite proves nothing about what it was to break, so that is an
// error of the run.
package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/plan"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// Fault is one that happens once. Its methods are called in this order by one goroutine;
// Heal also when one before has failed, and it may be called twice.
type Fault interface {
	// Healthy is an error unless the probe shows that the fault is not there.
	Healthy(ctx context.Context) error
	Inject(ctx context.Context) error
	// Bites is an error unless the probe shows the fault. It waits for that, but not long.
	Bites(ctx context.Context) error
	// Heal takes the fault away. It does not wait until the cluster has recovered.
	Heal(ctx context.Context) error
}

// Env is what a fault works with.
type Env struct {
	World *world.World
	Use   plan.Use
	// Victim is on whom it falls; nil for plan.All.
	Victim *world.Node
	// Taken are those on whom another fault of the same step falls.
	Taken []*world.Node
	Rand  *rand.Rand
	// Lost tells, before anything is done to a node, what will be; Back that it has
	// recovered. Whoever is lost when Heal returns is told of by the caller.
	Lost func(*world.Node, history.LossKind)
	Back func(*world.Node)
}

// ErrSkipped is wrapped by an error that says why this machine cannot have a fault.
var ErrSkipped = errors.New("this fault cannot be had here")

// makers of all faults, by the names of package plan.
func makers() map[string]func(Env) Fault {
	return map[string]func(Env) Fault{
		"kill":              func(e Env) Fault { return &kill{Env: e} },
		"pause":             func(e Env) Fault { return &pause{Env: e} },
		"isolate":           func(e Env) Fault { return newCut(e, both) },
		"one-way":           func(e Env) Fault { return newCut(e, side(1+e.Rand.IntN(2))) },
		"bridge":            newBridge,
		"black-hole":        func(e Env) Fault { return &blackHole{Env: e} },
		"loss":              func(e Env) Fault { return &loss{cut: *newCut(e, both)} },
		"resets":            func(e Env) Fault { return &resets{cut: *newCut(e, both)} },
		"flapping":          newFlapping,
		"delay":             func(e Env) Fault { return &delay{Env: e} },
		"slow-disk":         func(e Env) Fault { return &slowDisk{Env: e} },
		"hanging-disk":      func(e Env) Fault { return &hangingDisk{Env: e} },
		"failing-fsync":     func(e Env) Fault { return &failingFsync{Env: e} },
		"full-disk":         func(e Env) Fault { return &fullDisk{Env: e} },
		"power-cut":         func(e Env) Fault { return &powerCut{Env: e, nodes: []*world.Node{e.Victim}} },
		"power-cut-all":     func(e Env) Fault { return &powerCut{Env: e, nodes: e.World.Nodes} },
		"kill-all":          func(e Env) Fault { return &killAll{Env: e} },
		"quota":             func(e Env) Fault { return &quota{Env: e} },
		"clock":             func(e Env) Fault { return &clock{Env: e} },
		"membership":        func(e Env) Fault { return &membership{Env: e} },
		"drain":             func(e Env) Fault { return &drain{Env: e} },
		"rolling-restart":   func(e Env) Fault { return &rollingRestart{Env: e} },
		"snapshot-transfer": func(e Env) Fault { return &snapshotTransfer{Env: e} },
		"rolled-back":       func(e Env) Fault { return &rolledBack{Env: e} },
		"crash-loop":        func(e Env) Fault { return &crashLoop{Env: e} },
	}
}

// Open makes the fault that e.Use names. Nothing happens yet.
func Open(e Env) (Fault, error) {
	f, ok := makers()[e.Use.Fault]
	if !ok {
		return nil, fmt.Errorf("there is no fault called %q", e.Use.Fault)
	}
	if e.Use.Role != plan.All && e.Victim == nil {
		return nil, fmt.Errorf("fault %s has no victim", e.Use.Fault)
	}
	return f(e), nil
}

// others are all but the victim; those that another fault has come last, so that a probe
// finds a partner whom nothing has happened to.
func (e Env) others() []*world.Node {
	free := e.World.Others(append([]*world.Node{e.Victim}, e.Taken...)...)
	return append(free, e.World.Others(append([]*world.Node{e.Victim}, free...)...)...)
}

// someOther is another node that runs.
func (e Env) someOther() *world.Node {
	others := e.others()
	first := e.Rand.IntN(len(others))
	for i := range others {
		if o := others[(first+i)%len(others)]; o.Running() {
			return o
		}
	}
	return others[first]
}

// between draws a time.
func (e Env) between(least, most time.Duration) time.Duration {
	return least + time.Duration(e.Rand.Int64N(int64(most-least)))
}

// loop does something again and again, beside, until it is ended.
type loop struct {
	cancel context.CancelFunc
	done   chan error
}

// begin starts f, which returns when its context ends.
func begin(ctx context.Context, f func(ctx context.Context) error) *loop {
	ctx, cancel := context.WithCancel(ctx)
	l := &loop{cancel: cancel, done: make(chan error, 1)}
	go func() { l.done <- f(ctx) }()
	return l
}

// end waits for f and returns its error; a nil loop has none.
func (l *loop) end() error {
	if l == nil {
		return nil
	}
	l.cancel()
	err := <-l.done
	l.done <- nil
	return err
}

// sleep reports whether the whole time has passed.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

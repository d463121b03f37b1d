package scheduler

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// Store is the replicated state.
type Store interface {
	// View is the state as this node knows it; it may be stale.
	View() fsm.View
	// Apply proposes a command and waits for its result. A refusal comes as an
	// *fsm.Error, or in the result. Any other error means that the outcome is
	// unknown; a repeat with the same ID finds out. It returns soon after ctx ends.
	Apply(ctx context.Context, p fsm.Proposal) (fsm.Result, error)
}

// Job is one attempt that has been started by a committed command.
type Job struct {
	Task     string
	Due      time.Time // nominal, UTC
	Attempt  int       // from 1
	Fence    uint64    // orders attempts; the engine refuses lower ones
	Document string
	Engine   string // name of an engine of this node
	Timeout  time.Duration
}

// Outcome is how a job ended.
type Outcome struct {
	Rows      int64
	Took      time.Duration // of the engine's work; zero: the time that Run needed
	Output    string        // at most fsm.MaxOutputBytes of it are recorded
	Err       error         // nil: succeeded
	Permanent bool          // with Err: another attempt cannot do better
}

// Config is what a Scheduler needs. Store, Self, Peers and Run are required.
type Config struct {
	Self  peer.ID
	Store Store

	// Peers is gossip's view of the cluster, this node included. PeersChanged
	// says "look again"; the Scheduler must be its only reader. nil: peers are
	// looked at when the state changes, and every few seconds.
	Peers        func() []peer.Peer
	PeersChanged <-chan struct{}

	// Run does the work of a job. It returns soon after its context ends; until
	// it has returned the attempt is not reported as ended, because the work may
	// still be going on. It is called by several goroutines at a time.
	Run func(context.Context, Job) Outcome

	// StopTimeout is how long a stopping worker takes at most to end its jobs and
	// to record that; zero means DefaultStopTimeout.
	StopTimeout time.Duration

	Log        zerolog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept and not registered
	Now        func() time.Time      // the wall clock by which tasks are due; nil means time.Now
}

// DefaultStopTimeout is used when Config.StopTimeout is zero.
const DefaultStopTimeout = 5 * time.Second

// Scheduler is both halves of a node's scheduling: Lead while it is the central
// node, Run always.
type Scheduler struct {
	cfg     Config
	log     zerolog.Logger
	metrics *metrics
}

// New checks the configuration and registers the metrics. It starts nothing.
func New(c Config) (*Scheduler, error) {
	if c.Self == "" || c.Store == nil || c.Peers == nil || c.Run == nil {
		return nil, errors.New("scheduler: Self, Store, Peers and Run are required")
	}
	if c.StopTimeout <= 0 {
		c.StopTimeout = DefaultStopTimeout
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	m, err := newMetrics(c.Registerer)
	if err != nil {
		return nil, err
	}
	return &Scheduler{cfg: c, log: logs.For(c.Log, "scheduler"), metrics: m}, nil
}

// Lead does the central node's work until ctx ends, which it must when leadership
// of the term is lost; it then returns nil, with every goroutine ended. It keeps
// nothing between calls, and may run beside another node's Lead without harm: the
// state refuses what was decided on old news.
func (s *Scheduler) Lead(ctx context.Context, term uint64) error {
	return newLeader(s, term).run(ctx)
}

// Run carries out what leaders claimed for this node, until ctx ends. Jobs that run
// then are cancelled and recorded as failed, within Config.StopTimeout. The error
// is ErrStuck when a job did not end in time, nil otherwise. It is called once in
// the life of a process: an attempt that was started before is an attempt that a
// former process left behind.
func (s *Scheduler) Run(ctx context.Context) error {
	return newWorker(s).run(ctx)
}

// ErrStuck means that Config.Run had not returned when the time for stopping was over.
var ErrStuck = errors.New("a job did not end in time")

// applyTimeout bounds one call of Store.Apply, which tries for 10 s by itself.
const applyTimeout = 15 * time.Second

// apply proposes a command of this node. A refusal comes as an *fsm.Error, see
// refusal; any other error means that the outcome is unknown.
func (s *Scheduler) apply(ctx context.Context, p fsm.Proposal) (fsm.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	p.Actor = fsm.Actor{Kind: fsm.ActorNode, ID: string(s.cfg.Self)}
	res, err := s.cfg.Store.Apply(ctx, p)
	if err != nil {
		return res, err
	}
	return res, res.Err()
}

// refusal returns the state's refusal in err, or nil when there is none.
func refusal(err error) *fsm.Error {
	var e *fsm.Error
	errors.As(err, &e)
	return e
}

// wait reports whether d went by before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

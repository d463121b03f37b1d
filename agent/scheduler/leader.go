package scheduler

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

const (
	// minGap is the least time between two rounds; a round that takes long
	// stretches it, so that planning never takes more than a tenth of a core.
	minGap = 20 * time.Millisecond
	// maxGap bounds the wait for the next round: the wall clock may be set forward
	// while a timer runs.
	maxGap = 10 * time.Second
	// A task whose command was refused or got lost is left alone for a moment, which
	// doubles each time.
	firstHold = 50 * time.Millisecond
	lastHold  = 5 * time.Second
)

// leader carries out plans for one term. What it keeps is about commands that are
// on their way; the next leader needs none of it.
type leader struct {
	*Scheduler
	term    uint64
	days    calendar
	flying  map[string]batch  // by task
	held    map[string]hold   // by task
	warned  map[string]uint64 // broken tasks, by the revision that was reported
	resume  string
	done    chan outcomeOf
	sending sync.WaitGroup
}

// hold keeps a task from being planned until a time and a revision have come.
type hold struct {
	until    time.Time
	revision uint64 // what the batch led to may not be in the view yet
	pause    time.Duration
}

// outcomeOf is what became of a batch.
type outcomeOf struct {
	task     string
	revision uint64
	err      error
}

func newLeader(s *Scheduler, term uint64) *leader {
	return &leader{
		Scheduler: s, term: term, days: calendar{}, flying: map[string]batch{}, held: map[string]hold{},
		done: make(chan outcomeOf, maxRound),
	}
}

func (l *leader) run(ctx context.Context) error {
	l.log.Info().Uint64(logs.Term, l.term).Msg("scheduling begins")
	defer l.log.Info().Uint64(logs.Term, l.term).Msg("scheduling ends")
	defer l.metrics.broken.Set(0)
	defer l.sending.Wait()
	changed := l.cfg.PeersChanged
	for ctx.Err() == nil {
		began := time.Now()
		view := l.cfg.Store.View()
		next := l.round(ctx, view)
		gap := max(minGap, 10*time.Since(began))
		if !wait(ctx, gap) {
			break
		}
		timer := time.NewTimer(min(next, maxGap) - gap)
		select {
		case <-ctx.Done():
		case <-view.Newer():
		case <-timer.C:
		case o := <-l.done:
			l.landed(o)
		case _, ok := <-changed:
			if !ok {
				changed = nil
			}
		}
		timer.Stop()
	}
	return nil
}

// round plans once, sends what was decided on its way, and says in what time to
// look again.
func (l *leader) round(ctx context.Context, view fsm.View) time.Duration {
	if view.Cached() {
		return time.Second
	}
	for len(l.done) > 0 {
		l.landed(<-l.done)
	}
	began := time.Now()
	in := l.input(view)
	out := plan(in)
	l.metrics.plan.Observe(time.Since(began).Seconds())
	l.resume = out.Resume
	l.report(out.Broken)
	for _, b := range out.Batches {
		l.send(ctx, b)
	}
	next := maxGap
	if !out.Next.IsZero() {
		next = out.Next.Sub(in.Now)
	}
	for _, h := range l.held {
		if until := time.Until(h.until); until > 0 {
			next = min(next, until)
		}
	}
	return next
}

func (l *leader) input(view fsm.View) input {
	in := input{
		Tasks: view.Tasks(), Open: view.OpenOccurrences(), Nodes: view.Nodes(), Peers: l.cfg.Peers(),
		Recorded: func(id fsm.OccurrenceID) bool { return view.Occurrence(id) != nil },
		Due:      l.days.due,
		Now:      l.cfg.Now(),
		Parallel: int(view.Int("scheduler.parallel")),
		Busy:     map[string]bool{}, Claiming: map[peer.ID]int{},
		Budget: maxRound, Resume: l.resume,
	}
	if at := view.At(); in.Now.Before(at) {
		in.Now = at // the state's clock never goes back, and it decides what is due
	}
	l.days.forget(in.Tasks)
	for task, b := range l.flying {
		in.Busy[task] = true
		in.Budget -= len(b.Commands)
		for _, c := range b.Commands {
			if claim, ok := c.(*fsm.ClaimOccurrence); ok {
				in.Claiming[claim.Node]++
			}
		}
	}
	now := time.Now()
	for task, h := range l.held {
		switch {
		case now.Before(h.until) || view.Revision() < h.revision:
			in.Busy[task] = true
		case now.Sub(h.until) > lastHold:
			delete(l.held, task)
		}
	}
	return in
}

// send proposes a batch in a goroutine of its own: a command that is stuck holds
// up its task and no other.
func (l *leader) send(ctx context.Context, b batch) {
	l.flying[b.Task] = b
	l.sending.Go(func() {
		o := outcomeOf{task: b.Task}
		for _, c := range b.Commands {
			if o.revision, o.err = l.proposeOne(ctx, c); o.err != nil {
				break
			}
		}
		l.done <- o // has room for all: each batch took its share of the budget
	})
}

func (l *leader) proposeOne(ctx context.Context, c fsm.Command) (uint64, error) {
	res, err := l.apply(ctx, fsm.Proposal{Known: l.cfg.Store.View().Revision(), Command: c})
	if err != nil {
		return 0, err
	}
	l.record(c)
	return res.Revision, nil
}

// landed takes a batch off the list. Whatever went wrong, the next round sees
// what the state is now and decides anew.
func (l *leader) landed(o outcomeOf) {
	delete(l.flying, o.task)
	if o.err == nil {
		l.held[o.task] = hold{revision: o.revision}
		return
	}
	h := hold{pause: min(max(2*l.held[o.task].pause, firstHold), lastHold)}
	h.until = time.Now().Add(h.pause)
	l.held[o.task] = h
	if refusal(o.err) != nil {
		l.metrics.refused.Inc()
		l.log.Debug().Str(logs.Task, o.task).Err(o.err).Msg("decision was out of date")
		return
	}
	l.log.Warn().Str(logs.Task, o.task).Err(o.err).Msg("outcome of a scheduling command is unknown")
}

// record counts and logs what was decided and committed.
func (l *leader) record(c fsm.Command) {
	var id fsm.OccurrenceID
	var event *zerolog.Event
	message := ""
	switch c := c.(type) {
	case *fsm.ClaimOccurrence:
		if id = c.OccurrenceID; c.Attempt == 1 {
			l.metrics.lateness.WithLabelValues("claim").Observe(l.cfg.Now().Sub(id.Due.Time()).Seconds())
		}
		event = l.log.Debug().Str(logs.Node, string(c.Node)).Str(logs.Engine, c.Engine).Int(logs.Attempt, c.Attempt)
		message = "occurrence claimed"
	case *fsm.LoseOccurrence:
		id = c.OccurrenceID
		l.metrics.ended.WithLabelValues("lost").Inc()
		event, message = l.log.Warn().Str("reason", c.Reason), "attempt lost"
	case *fsm.SkipOccurrence:
		id = c.OccurrenceID
		l.metrics.ended.WithLabelValues(string(c.State)).Inc()
		event, message = l.log.Warn().Str("reason", c.Reason), "occurrence not run"
	}
	event.Str(logs.Task, id.Task).Time(logs.Due, id.Due.Time()).Msg(message)
}

// report tells of tasks that cannot be scheduled, once for each change of them.
func (l *leader) report(tasks []broken) {
	l.metrics.broken.Set(float64(len(tasks)))
	warned := l.warned
	l.warned = make(map[string]uint64, len(tasks))
	for _, b := range tasks {
		l.warned[b.Task.Name] = b.Task.Modified
		if warned[b.Task.Name] != b.Task.Modified {
			l.log.Error().Str(logs.Task, b.Task.Name).Err(b.Err).Msg("task cannot be scheduled")
		}
	}
}

package scheduler

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/fsm"
)

// Why a job's context ended.
var (
	errStopped = errors.New("the node was stopped")
	errLease   = errors.New("the lease could not be renewed for " + fsm.LeaseAbort.String())
	errLost    = errors.New("the lease was lost")
	errTimeout = errors.New("it took longer than the task's timeout")
)

const (
	restarted = "the node restarted while it ran"
	tooLate   = "its start was confirmed too late to launch it"

	// timeoutGrace is how long a run may take to report its own timeout.
	timeoutGrace = 10 * time.Second
	// A command whose outcome is unknown is sent again after a pause that doubles.
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
	// renewPause follows a renewal that failed.
	renewPause = time.Second
)

// job is an attempt that this process deals with.
type job struct {
	*Scheduler
	Job
	id    fsm.OccurrenceID
	log   zerolog.Logger
	late  context.Context // for recording the end; outlives the run by Config.StopTimeout
	ended chan verdict    // gets the verdict when the job's goroutine is through
	was   verdict
}

// verdict is how far a job got.
type verdict int

const (
	underWay verdict = iota
	settled          // its end was recorded, or it belongs to somebody else
	unheld           // the start was refused: the claim is out of date
)

// work starts the attempt, runs it under its lease, and records how it ended.
func (j *job) work(ctx context.Context) verdict {
	sent := time.Now() // leases count elapsed time, whatever the wall clock does
	err := j.settle(ctx, &fsm.StartOccurrence{OccurrenceID: j.id, Fence: j.Fence, Node: j.cfg.Self})
	switch {
	case refusal(err) != nil:
		j.log.Debug().Err(err).Msg("claim is out of date")
		return unheld
	case err != nil, ctx.Err() != nil:
		return j.finish(Outcome{Err: errStopped}) // refused if it is not started
	case time.Since(sent) >= fsm.LeaseAbort:
		return j.finish(Outcome{Err: errors.New(tooLate)})
	}
	if j.Attempt == 1 {
		j.metrics.lateness.WithLabelValues("start").Observe(j.cfg.Now().Sub(j.Due).Seconds())
	}
	return j.finish(j.launch(ctx, sent))
}

// abandon ends an attempt that a former process started.
func (j *job) abandon() verdict {
	return j.finish(Outcome{Err: errors.New(restarted)})
}

// launch runs the work while the lease holds. sent is when the start was proposed.
func (j *job) launch(node context.Context, sent time.Time) Outcome {
	j.metrics.running.Inc()
	defer j.metrics.running.Dec()
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(node))
	defer context.AfterFunc(node, func() { cancel(errStopped) })()
	ctx, expire := context.WithTimeoutCause(ctx, j.Timeout+timeoutGrace, errTimeout)
	defer expire()
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		j.keep(ctx, cancel, sent)
	}()
	began := time.Now()
	out := j.cfg.Run(ctx, j.Job)
	cause := context.Cause(ctx)
	cancel(nil)
	<-kept
	if out.Took <= 0 {
		out.Took = time.Since(began)
	}
	if out.Err != nil && cause != nil {
		// What ended the work says more than what the work says about it.
		out.Err, out.Permanent = cause, false
	}
	return out
}

// keep renews the lease until ctx ends. When the last acknowledged renewal was
// sent fsm.LeaseAbort ago, or the lease is not ours any more, it ends the work.
func (j *job) keep(ctx context.Context, cancel context.CancelCauseFunc, sent time.Time) {
	// The timer works also while a renewal is stuck.
	abort := time.AfterFunc(fsm.LeaseAbort-time.Since(sent), func() { cancel(errLease) })
	defer abort.Stop()
	pause := fsm.LeaseRenew - time.Since(sent)
	for wait(ctx, pause) {
		at := time.Now()
		try, done := context.WithTimeout(ctx, fsm.LeaseRenew)
		_, err := j.apply(try, fsm.Proposal{
			Known:   j.cfg.Store.View().Revision(),
			Command: &fsm.RenewOccurrence{OccurrenceID: j.id, Fence: j.Fence, Node: j.cfg.Self},
		})
		done()
		switch {
		case err == nil:
			j.metrics.renewals.WithLabelValues("ok").Inc()
			abort.Reset(fsm.LeaseAbort - time.Since(at))
			pause = fsm.LeaseRenew - time.Since(at)
		case refusal(err) != nil:
			j.metrics.renewals.WithLabelValues("refused").Inc()
			cancel(errLost)
			return
		case ctx.Err() != nil:
			return
		default:
			j.metrics.renewals.WithLabelValues("failed").Inc()
			j.log.Warn().Err(err).Msg("lease not renewed")
			pause = renewPause
		}
	}
}

// finish records how the attempt ended, until that is known to be recorded or
// refused, or the time for stopping is over.
func (j *job) finish(o Outcome) verdict {
	c := &fsm.FinishOccurrence{
		OccurrenceID: j.id, Fence: j.Fence, Node: j.cfg.Self, Succeeded: o.Err == nil, Permanent: o.Permanent,
		Rows: o.Rows, Took: o.Took, Output: clip(o.Output),
	}
	result := "succeeded"
	if o.Err != nil {
		c.Error, result = clip(o.Err.Error()), "failed"
	}
	if errors.Is(o.Err, errLost) {
		j.log.Warn().Msg("lease was lost, work aborted")
		return settled
	}
	err := j.settle(j.late, c)
	switch {
	case refusal(err) != nil:
		j.log.Warn().Err(err).Str("result", result).Msg("end of attempt refused, it is not held any more")
		return settled
	case err != nil:
		j.log.Warn().Err(err).Str("result", result).Msg("end of attempt not recorded")
		return settled
	}
	j.metrics.ended.WithLabelValues(result).Inc()
	event := j.log.Info()
	if o.Err != nil {
		event = j.log.Warn().Err(o.Err)
	}
	event.Str("result", result).Int64("took_ms", o.Took.Milliseconds()).Msg("attempt ended")
	return settled
}

// settle proposes a command under one ID until its outcome is known. The error is
// a refusal, or says that ctx ended and the outcome remains unknown.
func (j *job) settle(ctx context.Context, c fsm.Command) error {
	p := fsm.Proposal{Known: j.cfg.Store.View().Revision(), Command: c}
	_, _ = rand.Read(p.ID[:]) // never fails, see crypto/rand
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		_, err := j.apply(ctx, p)
		if err == nil || refusal(err) != nil {
			return err
		}
		if !wait(ctx, pause) {
			return err
		}
	}
}

// clip shortens text to what a row holds, so that the command fits into its bound.
func clip(s string) string {
	if len(s) > fsm.MaxOutputBytes {
		s = s[:fsm.MaxOutputBytes]
	}
	return strings.ToValidUTF8(s, "")
}

package builtin

import (
	"context"
	"errors"
	"time"

	"github.com/ushercluster/usher/agent/engine"
)

// reloading is a reload that runs.
type reloading struct {
	fence  uint64
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// reloadDocument runs one reload from claim to record. cancel ends ctx, and is
// how a higher token takes the document over.
func (s *Server) reloadDocument(ctx context.Context, cancel context.CancelCauseFunc, req engine.ReloadRequest) (*Table, error) {
	d, err := s.library.document(req.Document)
	if err != nil {
		return nil, err
	}
	attempt := Attempt{Document: req.Document, Task: req.Task, Occurrence: req.Occurrence, Attempt: req.Attempt}
	run := &reloading{fence: req.Fence, cancel: cancel, done: make(chan struct{})}
	if err := d.claim(ctx, run); err != nil {
		s.ledger.record(attempt, req.Fence, reloadRefused, codeOf(err))
		return nil, err
	}
	s.ledger.record(attempt, req.Fence, reloadStarted, "running")
	ctx, stop := context.WithTimeoutCause(ctx, req.Timeout(), errReloadTimeout)
	defer stop()
	t, err := s.prepare(ctx, req.Document)
	if err == nil {
		err = d.publish(ctx, run, t)
	}
	if err != nil {
		s.ledger.record(attempt, req.Fence, reloadFailed, codeOf(err))
	} else {
		s.ledger.record(attempt, req.Fence, reloadFinished, "ok")
	}
	d.leave(run) // after the record: whoever waits for it finds it
	if err != nil {
		return nil, err
	}
	return t, nil
}

// prepare reads the document, not faster than ReloadDelay.
func (s *Server) prepare(ctx context.Context, key string) (*Table, error) {
	if s.o.ReloadDelay != nil {
		timer := time.NewTimer(s.o.ReloadDelay(key))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	t, _, err := s.library.read(ctx, key)
	return t, err
}

// claim makes run the one reload of d. The rules, of which the first that
// applies decides:
//
//   - a token lower than the highest seen is stale
//   - a token higher than that of the reload that runs ends it and takes over
//   - while one runs any other call is refused, one with the same token too: its
//     connection must not stand for work that another connection can abort
//
// A call without a token (0) is never stale, and never takes over.
func (d *document) claim(ctx context.Context, run *reloading) error {
	for {
		other, err := d.tryClaim(run)
		if other == nil {
			return err
		}
		select {
		case <-other.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tryClaim returns the reload to wait for, which it has told to end, or how the
// claim came out.
func (d *document) tryClaim(run *reloading) (*reloading, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if run.fence != 0 && run.fence < d.fence {
		return nil, errStale
	}
	other := d.running
	if other != nil && run.fence <= other.fence {
		return nil, errRunning
	}
	d.fence = max(d.fence, run.fence)
	if other != nil {
		other.cancel(errSuperseded)
		return other, nil
	}
	d.running = run
	return nil, nil
}

// publish makes t the document's data, unless run was ended meanwhile: under the
// lock, nothing comes between the question and the swap.
func (d *document) publish(ctx context.Context, run *reloading, t *Table) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if run.fence != 0 && run.fence < d.fence {
		return errSuperseded
	}
	d.table, d.failed = t, nil
	return nil
}

func (d *document) leave(run *reloading) {
	d.mu.Lock()
	d.running = nil
	d.mu.Unlock()
	close(run.done)
}

// codeOf names an error in the counters.
func codeOf(err error) string {
	var ce *CSVError
	switch {
	case errors.Is(err, errStale), errors.Is(err, errSuperseded):
		return engine.CodeStaleFence
	case errors.Is(err, errRunning):
		return engine.CodeRunning
	case errors.Is(err, errReloadTimeout):
		return engine.CodeTimeout
	case errors.Is(err, context.Canceled), errors.Is(err, errClosed):
		return engine.CodeAborted
	case errors.As(err, &ce), errors.Is(err, errTooBig), errors.Is(err, errChanged):
		return engine.CodeMalformed
	case errors.Is(err, ErrNoDocument):
		return engine.CodeUnknown
	}
	return engine.CodeFailed
}

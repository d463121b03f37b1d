package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

const (
	bufferBytes = 256 << 10
	flushEvery  = time.Second
)

// ErrClosed means that an operation came after Close, or after the file failed.
var ErrClosed = errors.New("history closed")

// Recorder writes operations to a file, one JSON object a line in the order of their
// ends. It is safe for concurrent use and keeps at most one buffer in memory: whoever
// fills it waits for the file. What is in the file after a crash is whole but for its last
// line.
type Recorder struct {
	began time.Time

	mu      sync.Mutex
	file    *os.File // nil after Close
	buf     []byte
	flushed time.Time
	err     error // the first of the file
	dropped int   // operations that came after it
}

// Open makes the file, which must not exist. Times count from began.
func Open(path string, began time.Time) (*Recorder, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("make history: %w", err)
	}
	return &Recorder{began: began, file: f, buf: make([]byte, 0, bufferBytes+maxLine), flushed: began}, nil
}

// Now is the time since the run began.
func (r *Recorder) Now() time.Duration { return time.Since(r.began) }

// Add records an operation. Errors are kept for Close: a client has no use for them.
func (r *Recorder) Add(op Op) {
	if len(op.Detail) > maxDetail {
		op.Detail = op.Detail[:maxDetail]
	}
	line, err := json.Marshal(op)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.err != nil || r.file == nil:
		r.dropped++
		return
	case err != nil: // no field of an Op can fail to encode
		r.err = fmt.Errorf("encode operation: %w", err)
		return
	}
	r.buf = append(append(r.buf, line...), '\n')
	if len(r.buf) >= bufferBytes || time.Since(r.flushed) >= flushEvery {
		r.flush()
	}
}

// flush is called with the lock held.
func (r *Recorder) flush() {
	if _, err := r.file.Write(r.buf); err != nil && r.err == nil {
		r.err = fmt.Errorf("write history: %w", err)
	}
	r.buf, r.flushed = r.buf[:0], time.Now()
}

// Close writes what is left. It fails if any operation did not get into the file. A
// second call does nothing.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	r.flush()
	err := r.err
	if e := r.file.Close(); err == nil && e != nil {
		err = fmt.Errorf("close history: %w", e)
	}
	r.file = nil
	if r.dropped > 0 {
		err = errors.Join(err, fmt.Errorf("%w: %d operations are missing", ErrClosed, r.dropped))
	}
	return err
}

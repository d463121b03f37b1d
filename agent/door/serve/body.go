package serve

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ushercluster/usher/agent/http1"
)

// body is the body of a request on the whole way. Read is for one goroutine at a time,
// which may be another one than the Handler's.
type body struct {
	c       *Conn
	w       *writer
	early   []byte // all of it, when it was read already
	trailer http.Header

	mu     sync.Mutex // held while it is read from
	rest   []byte     // of the piece at hand
	err    error
	closed atomic.Bool
	done   atomic.Bool // the whole was read from the connection
	timed  atomic.Bool // somebody set a read deadline
}

// Read implements io.Reader. A body that is not framed as it should be is an
// *http1.Error.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	if len(b.rest) == 0 {
		b.w.proceed()
		if n, err := b.direct(p); n > 0 || err != nil {
			return n, err
		}
		if b.rest, b.err = b.piece(); b.err != nil {
			return 0, b.err
		}
	}
	n := copy(p, b.rest)
	if b.rest = b.rest[n:]; len(b.rest) == 0 && b.c.reader.Whole() {
		b.err = io.EOF // nobody has to ask for it to learn that this was all
		b.complete()
	}
	return n, nil
}

// directly is from what size on a buffer is read into without a copy.
const directly = 16 << 10

// direct reads into a large buffer what has not been read with the head; 0 and no error
// where there is no such thing.
func (b *body) direct(p []byte) (int, error) {
	r := b.c.reader
	left := r.Left()
	if b.early != nil || left == 0 || len(p) < directly || r.Chunked() {
		return 0, nil
	}
	n, err := b.c.direct.Read(p[:min(int64(len(p)), left)])
	if r.Took(int64(n)); r.Whole() {
		b.err = io.EOF
		b.complete()
		return n, nil
	}
	if err != nil && n == 0 {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		b.err = err
		return 0, err
	}
	return n, nil
}

// piece is the next one.
func (b *body) piece() ([]byte, error) {
	if b.early != nil {
		p := b.early
		b.early = nil
		return p, nil // its reader has been read to the end
	}
	p, err := b.c.reader.ReadBody()
	if errors.Is(err, io.EOF) {
		b.keepTrailer(b.c.reader.Trailer())
		b.complete()
		return nil, io.EOF
	}
	return p, err
}

func (b *body) keepTrailer(f *http1.Fields) {
	if b.trailer == nil || f == nil {
		return
	}
	for name, values := range header(f) {
		b.trailer[name] = values
	}
}

// complete is when the whole was read: from now on the client is watched.
func (b *body) complete() {
	b.resetDeadline()
	b.done.Store(true)
	for {
		w := b.c.word.Load()
		if stageOf(w) != working || b.c.word.CompareAndSwap(w, w&^(1<<stageBits-1)|int64(awaiting)) {
			return
		}
	}
}

// resetDeadline takes a read deadline away, which is meant for this body only.
func (b *body) resetDeadline() {
	if b.timed.Swap(false) {
		_ = b.c.nc.SetReadDeadline(time.Time{}) // a dead connection shows when it is read from
	}
}

// Close implements io.Closer. What was not read stays unread.
func (b *body) Close() error {
	b.closed.Store(true)
	return nil
}

// What a Handler may leave unread of a body, and how long that may take to come, for the
// connection to stay.
const (
	maxUnread  = 256 << 10
	unreadTime = time.Second
)

// large reports whether more is to come than is worth reading for nobody.
func (b *body) large(length int64) bool { return !b.done.Load() && length > maxUnread }

// drain reads what the Handler did not, and reports whether the whole has come.
func (b *body) drain() bool {
	if b.done.Load() {
		return true
	}
	_ = b.c.nc.SetReadDeadline(b.c.s.cfg.Now().Add(unreadTime))
	b.timed.Store(true)
	for left := maxUnread; left > 0; {
		p, err := b.piece()
		if left -= len(p); err != nil {
			return b.done.Load()
		}
	}
	return false
}

// end waits for a Read that is under way, and lets no other begin.
func (b *body) end() {
	b.closed.Store(true)
	if b.done.Load() {
		return
	}
	b.timed.Store(true)
	_ = b.c.nc.SetReadDeadline(time.Unix(1, 0))
	b.mu.Lock()
	defer b.mu.Unlock()
}

package upstream

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	continueWait = time.Second            // for a 100 that does not come (RFC 9110 10.1.1)
	lastWrite    = 100 * time.Millisecond // for the last bytes, once the answer is complete
	afterBroken  = 5 * time.Second        // for an answer that explains a broken write
)

var errStopped = errors.New("sending was stopped")

// sender writes a request's body while the exchange reads the answer. Its methods
// may be called on nil, which is a request without a body.
type sender struct {
	c    *conn
	r    *Request
	idle time.Duration

	go100 chan struct{} // closed when the engine says 100; nil if not waited for
	quit  chan struct{} // closed by end
	done  chan struct{}

	proceedOnce, endOnce sync.Once
	reading              atomic.Bool           // Body.Read has been called, or was about to be
	last                 atomic.Bool           // all of the body has been read
	cause                atomic.Pointer[error] // why the sender closed the connection
	sent                 bool                  // the body went out whole; valid after done
}

func startSender(c *conn, r *Request) *sender {
	s := &sender{c: c, r: r, idle: pick(r.BodyIdle, c.pool.cfg.BodyIdle),
		quit: make(chan struct{}), done: make(chan struct{})}
	if r.expectsContinue() {
		s.go100 = make(chan struct{})
	}
	go s.run()
	return s
}

func (s *sender) run() {
	defer close(s.done)
	if s.go100 != nil && !s.await100() {
		return
	}
	bufs := s.c.pool.cfg.Buffers
	b := bufs.chunk()
	defer bufs.putChunk(b)
	var err error
	if s.r.chunked() {
		err = s.sendChunked(*b)
	} else {
		err = s.sendSized(*b)
	}
	s.conclude(err)
}

// conclude decides what a failure means for the exchange.
func (s *sender) conclude(err error) {
	var body *BodyError
	switch {
	case err == nil:
		s.sent = true
		s.c.setHeadBy(headBy(s.r, s.c.pool))
	case s.stopped():
	case errors.As(err, &body), errors.Is(err, ErrBadField):
		s.fail(err)
	case isTimeout(err):
		s.fail(&TimeoutError{Phase: PhaseSend})
	default:
		// The engine has closed its side. It may have said why before, so the
		// answer is still read, though not waited for.
		s.c.setHeadBy(s.c.pool.cfg.Now().Add(afterBroken))
	}
}

// fail closes the connection, which ends the reader, and says why.
func (s *sender) fail(err error) {
	s.cause.Store(&err)
	s.c.nc.Close()
}

func (s *sender) await100() bool {
	t := time.NewTimer(continueWait)
	defer t.Stop()
	select {
	case <-s.go100:
		return true
	case <-t.C:
		return true
	case <-s.quit:
		return false
	}
}

func (s *sender) sendSized(b []byte) error {
	for left := s.r.ContentLength; left > 0; {
		n, err := s.read(b[:min(int64(len(b)), left)])
		left -= int64(n)
		if left == 0 {
			s.last.Store(true)
		} else if err == io.EOF { //nolint:errorlint // exactly: the source's own end
			return &BodyError{Err: errBodyShort}
		}
		if werr := s.write(b[:n]); werr != nil {
			return werr
		}
		if err != nil && left > 0 {
			return &BodyError{Err: err}
		}
	}
	return nil
}

// sendChunked writes each read as one chunk: the size goes in front of the data, in
// a margin that has room for it.
func (s *sender) sendChunked(b []byte) error {
	const margin, tail = 6, 2 // "7ff8\r\n", "\r\n"
	for {
		n, err := s.read(b[margin : len(b)-tail])
		if n > 0 {
			var digits [8]byte
			size := append(strconv.AppendUint(digits[:0], uint64(n), 16), '\r', '\n')
			start := margin - copy(b[margin-len(size):], size)
			copy(b[margin+n:], "\r\n")
			if werr := s.write(b[start : margin+n+tail]); werr != nil {
				return werr
			}
		}
		if err == io.EOF { //nolint:errorlint // exactly: the source's own end
			break
		}
		if err != nil {
			return &BodyError{Err: err}
		}
	}
	end, err := s.appendEnd(b[:0])
	if err != nil {
		return err
	}
	s.last.Store(true)
	return s.write(end)
}

// appendEnd makes the last chunk and the trailer.
func (s *sender) appendEnd(b []byte) ([]byte, error) {
	b = append(b, "0\r\n"...)
	var trailer http.Header
	if s.r.Trailer != nil {
		trailer = s.r.Trailer()
	}
	if err := checkFields(trailer); err != nil {
		return nil, err
	}
	for name, values := range trailer {
		if !forbiddenTrailer(name) {
			b = appendField(b, name, values)
		}
	}
	return append(b, '\r', '\n'), nil
}

// read reads from the body. Until it returns, the exchange's head deadline is how
// long the source may stall.
func (s *sender) read(p []byte) (int, error) {
	s.reading.Store(true)
	if s.stopped() { // after the flag, or end could miss a Read that is about to block
		return 0, errStopped
	}
	s.extendHead()
	return s.r.Body.Read(p)
}

func (s *sender) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	s.extendHead()
	if err := s.c.armWrite(s.idle); err != nil {
		return err
	}
	if s.stopped() { // after arming, so that end's deadline in the past stays
		return errStopped
	}
	_, err := s.c.nc.Write(p)
	return err
}

func (s *sender) extendHead() {
	if s.idle > 0 {
		s.c.setHeadBy(s.c.pool.cfg.Now().Add(s.idle))
	} else {
		s.c.setHeadBy(time.Time{})
	}
}

func (s *sender) stopped() bool {
	select {
	case <-s.quit:
		return true
	default:
		return false
	}
}

// proceed tells that the engine said 100.
func (s *sender) proceed() {
	if s != nil && s.go100 != nil {
		s.proceedOnce.Do(func() { close(s.go100) })
	}
}

// end stops the sending if the body is not on its way out already. It does not wait.
func (s *sender) end() {
	if s == nil || s.last.Load() {
		return
	}
	s.endOnce.Do(func() {
		close(s.quit)
		_ = s.c.nc.SetWriteDeadline(time.Unix(1, 0)) // a closed socket needs none
		if s.r.StopBody != nil && s.reading.Load() {
			s.r.StopBody()
		}
	})
}

// settle ends the sending, waits for it, and reports whether the body went out whole.
func (s *sender) settle() bool {
	if s == nil {
		return true
	}
	select {
	case <-s.done:
		return s.sent && !s.stopped() // stopping has spoilt the write deadline
	default:
	}
	if s.last.Load() {
		// The answer can overtake our own return from the last write.
		_ = s.c.nc.SetWriteDeadline(s.c.pool.cfg.Now().Add(lastWrite))
	} else {
		s.end()
	}
	<-s.done
	s.c.write = time.Time{}
	return s.sent && !s.stopped() && s.c.nc.SetWriteDeadline(time.Time{}) == nil
}

func (s *sender) hasRead() bool { return s != nil && s.reading.Load() }

// isSent reports whether nothing is left to be sent.
func (s *sender) isSent() bool {
	if s == nil {
		return true
	}
	select {
	case <-s.done:
		return s.sent
	default:
		return false
	}
}

// failure is why the sender ended the exchange, or nil.
func (s *sender) failure() error {
	if s == nil {
		return nil
	}
	if p := s.cause.Load(); p != nil {
		return *p
	}
	return nil
}

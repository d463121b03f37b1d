package door

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ushercluster/usher/agent/http1"
)

// maxReplay is the largest request body that is kept so that the request can be
// sent a second time.
const maxReplay = 64 << 10

// renewEvery is how often a deadline is moved while bytes flow: setting one for
// each read costs more than parsing a head.
const renewEvery = time.Second

// body is what the client sends. A small one of known length is read whole before
// anything is forwarded; any other streams, once.
type body struct {
	src    io.Reader
	rc     *http.ResponseController
	length int64 // -1 when chunked, 0 for none
	limit  int64 // 0 for none
	idle   time.Duration
	now    func() time.Time

	small   []byte // the whole of it; nil when it streams
	read    int64
	started bool        // somebody has read from it
	renewed time.Time   // when the read deadline was set last
	err     error       // sticky
	ended   atomic.Bool // all of it was read
	stopped atomic.Bool // by us: the rest is not wanted
}

// newBody prepares the body of a request; keep says whether small ones are read
// ahead. The error is one of the client's.
func newBody(r *http.Request, rc *http.ResponseController, t TrafficSettings, now func() time.Time, keep bool) (*body, error) {
	b := &body{src: r.Body, rc: rc, length: r.ContentLength, limit: t.MaxBodyBytes, idle: t.BodyIdle, now: now}
	if b.limit > 0 && b.length > b.limit {
		return b, errBodyTooLarge
	}
	// A client that waits for 100 shall get it from the engine, not from us.
	if !keep || b.length <= 0 || b.length > maxReplay || r.Header["Expect"] != nil {
		return b, nil
	}
	return b, b.keep()
}

// firstKept is how much memory a body gets before any of it has come.
const firstKept = 4 << 10

// keep reads all of it. It takes memory as the bytes come and not as they are announced:
// one connection of HTTP/2 can announce a hundred bodies and send none.
func (b *body) keep() error {
	small := make([]byte, 0, min(b.length, firstKept))
	for int64(len(small)) < b.length {
		small = slices.Grow(small, int(min(b.length-int64(len(small)), int64(max(len(small), firstKept)))))
		n, err := io.ReadFull(b, small[len(small):min(cap(small), int(b.length))])
		small = small[:len(small)+n]
		if errors.Is(err, io.EOF) && len(small) > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	b.small = small
	b.ended.Store(true)
	return nil
}

// Read implements io.Reader with a deadline for progress and the size limit.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	b.started = true
	if now := b.now(); b.idle > 0 && now.Sub(b.renewed) >= renewEvery {
		b.renewed = now
		_ = b.rc.SetReadDeadline(now.Add(b.idle + renewEvery))
	}
	n, err := b.src.Read(p)
	b.read += int64(n)
	switch {
	case b.limit > 0 && b.read > b.limit:
		b.err = errBodyTooLarge
		return 0, b.err
	case err == io.EOF:
		b.err = err
		b.ended.Store(true) // the server takes the deadline away
	case err == nil && b.read == b.length:
		b.ended.Store(true) // who counts does not ask for the end
	case err != nil:
		// A deadline that has not passed is one that stop has moved. Others that wait for the
		// same bytes may give up in the same second.
		b.err = err
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if b.now().Sub(b.renewed) >= b.idle-renewEvery {
				b.err = errBodyStalled
			}
		case b.length < 0 && !connectionError(err):
			b.err = fmt.Errorf("%w: %w", errBodyForm, err)
		}
	}
	return n, b.err
}

// blame is the problem when it is the body's sender that failed; nil when it is
// not. It must be asked first: HTTP/2's server cancels the request when a read fails.
func (b *body) blame() *problem {
	switch {
	case errors.Is(b.err, errBodyTooLarge):
		return problemTooLarge
	case errors.Is(b.err, errBodyStalled):
		return problemSlow
	case errors.Is(b.err, errBodyForm):
		var bad *http1.Error // HTTP/2 has errors of its own
		if errors.As(b.err, &bad) {
			return problemOf(bad)
		}
		return problemHead
	}
	return nil
}

// connectionError reports whether a read failed because the client has gone, or we
// have closed. What net/http says of bad chunks has no type; it is all the rest.
func connectionError(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, http.ErrBodyReadAfterClose)
}

// stop makes a Read that is blocked return.
func (b *body) stop() {
	b.stopped.Store(true)
	_ = b.rc.SetReadDeadline(time.Unix(1, 0))
}

// context is the request's, but for this: net/http cancels that when a read fails,
// and after stop it is no sign of a client that has gone.
func (b *body) context(ctx context.Context) (context.Context, context.CancelFunc) {
	if !b.unread() {
		return ctx, func() {}
	}
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	release := context.AfterFunc(ctx, func() {
		if !b.stopped.Load() {
			cancel()
		}
	})
	return own, func() { release(); cancel() }
}

// whole reports whether the body can be sent from its beginning.
func (b *body) whole() bool { return b.length == 0 || b.small != nil || !b.started }

// unread reports whether the client may still be sending. It may be asked while
// another goroutine reads.
func (b *body) unread() bool { return b.length != 0 && !b.ended.Load() }

// reader gives the body for one attempt; nil for none.
func (b *body) reader() (io.Reader, func()) {
	switch {
	case b.length == 0:
		return nil, nil
	case b.small != nil:
		return bytes.NewReader(b.small), nil
	}
	return b, b.stop
}

package serve

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ushercluster/usher/agent/http1"
)

const (
	lingerTime  = time.Second // for a client to take the last answer (RFC 9112 9.6)
	lingerBytes = 256 << 10
)

// Conn is one connection of a client. Its methods are for the goroutine that serves it,
// which is the hook's, and the Handler's by way of its ResponseWriter.
type Conn struct {
	s      *Server
	nc     net.Conn // as it was accepted
	direct net.Conn // nc, or what that is a mere wrapper of
	reader *http1.Reader
	ctx    context.Context // of the whole connection
	remote string          // nc.RemoteAddr(), made once, after Begin

	word  atomic.Int64 // what it does: see state.go
	watch atomic.Pointer[watch]
	at    stage // as this goroutine set it last
	began int64 // tick of the present request's head
	over  bool  // late, cut, or the client has gone

	mu    sync.Mutex // held while somebody else ends what goes on
	late  bool       // because it took too long
	other Cutter     // is cut with the request under way, while the word says so
	tied  bool       // as the word shall say

	keep   bool // another request may follow
	taken  bool // by Hijack
	linger bool // the client may still be sending
	early  []byte
}

// Cutter is what goes on for a request beside its connection, and ends with it. Cut may
// be called by any goroutine, once, and must not block.
type Cutter interface{ Cut() }

func newConn(s *Server, nc net.Conn) *Conn {
	c := &Conn{s: s, nc: nc, direct: nc, ctx: context.Background()}
	if w, ok := nc.(interface{ Direct() net.Conn }); ok {
		c.direct = w.Direct()
	}
	c.reader = http1.NewReader(c.direct, s.cfg.Buffers)
	if s.cfg.Context != nil {
		c.ctx = s.cfg.Context(nc)
	}
	return c
}

// Net is the connection as it was accepted.
func (c *Conn) Net() net.Conn { return c.nc }

// Direct is the connection to be written to: Net, or what that says it is a wrapper of,
// by a method Direct() net.Conn.
func (c *Conn) Direct() net.Conn { return c.direct }

// Reader reads from the client. After a request was answered its body must have been read
// to the end, or EndAfter called.
func (c *Conn) Reader() *http1.Reader { return c.reader }

// LastAnswer reports whether the answer must say that it is the last one. Once it does,
// it is.
func (c *Conn) LastAnswer() bool {
	c.keep = c.keep && !c.s.lame.Load()
	return !c.keep
}

// EndAfter makes the request the connection's last.
func (c *Conn) EndAfter() { c.keep = false }

// Cut closes the connection at once.
func (c *Conn) Cut() {
	c.keep = false
	c.over = true
}

// Over reports whether the connection was ended by others.
func (c *Conn) Over() bool { return c.over }

// Fail answers a request that cannot be taken, as Config.Page does, and is the connection's
// last.
func (c *Conn) Fail(bad *http1.Error) { c.refuse(bad) }

// GiveBody leaves a body that was read whole to the Handler, which has to answer the request.
func (c *Conn) GiveBody(b []byte) { c.early = b }

func (c *Conn) run() {
	defer c.end()
	if begin := c.s.cfg.Begin; begin != nil {
		if !c.enter(inHead, c.s.head) || !begin(c.nc) {
			c.leave()
			return
		}
	}
	if a := c.nc.RemoteAddr(); a != nil {
		c.remote = a.String()
	}
	for ok := c.enter(idle, c.s.idle); ok && !c.s.isClosing(); {
		ok = c.next()
	}
}

// leave forgets a connection that belongs to somebody else.
func (c *Conn) leave() {
	c.taken = true
	c.word.Store(word(ended, 0, 0)) // it is nobody's here
	c.s.ended(c)
}

func (c *Conn) end() {
	if c.taken {
		return
	}
	if (c.linger || len(c.reader.Buffered()) > 0) && !c.over {
		c.drain()
	}
	_ = c.nc.Close() // nobody can be told
	c.reader.Release()
	c.s.ended(c)
}

// next serves one request and reports whether another may come.
func (c *Conn) next() bool {
	if err := c.reader.Wait(); err != nil || !c.enter(inHead, c.s.head) {
		return false
	}
	q, err := c.reader.ReadRequest()
	if err != nil {
		c.malformed(err)
		return false
	}
	wished := q.KeepAlive
	c.keep, c.began = wished, c.s.tick.Load()
	begin := awaiting
	if q.Chunked || q.ContentLength > 0 {
		begin = working
	}
	if !c.enter(begin, 0) {
		return false
	}
	if c.s.Express == nil || !c.s.Express(c, q) {
		c.whole(q)
	}
	if c.taken {
		return false
	}
	c.rest()
	c.linger = c.linger || wished && !c.keep // it may have sent another one
	return c.keep && !c.over
}

// malformed answers what is no request.
func (c *Conn) malformed(err error) {
	var bad *http1.Error
	switch {
	case errors.As(err, &bad):
	case errors.Is(err, os.ErrDeadlineExceeded) && len(c.reader.Buffered()) > 0:
		bad = &http1.Error{Status: 408, Reason: "the head did not come in time"}
	default:
		return
	}
	c.over = false
	_ = c.nc.SetDeadline(c.s.cfg.Now().Add(lingerTime))
	c.refuse(bad)
}

// drain lets the client take the last answer: an end with bytes unread would be a reset,
// which throws the answer away.
func (c *Conn) drain() {
	w, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || w.CloseWrite() != nil {
		return
	}
	_ = c.nc.SetReadDeadline(c.s.cfg.Now().Add(lingerTime))
	var b [1024]byte
	for left := lingerBytes; left > 0; {
		n, err := c.nc.Read(b[:])
		if left -= n; err != nil {
			return
		}
	}
}

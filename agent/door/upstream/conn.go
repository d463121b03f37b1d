package upstream

import (
	"bufio"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// slack is by how much a socket's deadline may be later than asked for. Within it
// the deadline is not set anew.
const slack = time.Second

// conn is one connection to the destination. One exchange owns it at a time; the
// exchange's sender may write while its reader reads.
type conn struct {
	nc   net.Conn
	pool *Pool
	pin  *Pin
	peek *peeker // nil when the connection cannot be asked without reading

	br       *bufio.Reader // only during an exchange
	reused   bool          // has served an exchange before this one
	busy     atomic.Bool   // an exchange is under way
	answered atomic.Bool   // a byte of the present answer has come
	cut      atomic.Bool   // by Pool.CutSilent

	exchange atomic.Uint32 // how many have begun; only its owner writes it
	waited   uint32        // the exchange that Pool.CheckSilent found waiting; under Pool.mu
	checked  bool          // the kernel asks the peer often: see Pool.CheckSilent; under Pool.mu

	idleSince time.Time
	watch     *watch // only while idle, and only without peek

	read  readClock
	write time.Time // the socket's write deadline, for whoever writes

	wire Wire // for Pool.Borrow; made with the first
}

// readClock is the read deadline: of a head it is a point in time, which the
// sender moves; of a body it is a time for each read.
type readClock struct {
	mu   sync.Mutex
	set  time.Time // what the socket has
	by   time.Time // head; zero: none
	body bool
	idle time.Duration // body; <= 0: none
}

// begin prepares c for an exchange.
func (c *conn) begin() {
	c.br = c.pool.cfg.Buffers.reader(c)
	c.take()
}

// take notes that an exchange begins.
func (c *conn) take() {
	c.exchange.Store(c.exchange.Load() + 1)
	c.answered.Store(false)
	c.busy.Store(true)
}

// Read reads from the socket under the deadline of the present phase.
func (c *conn) Read(p []byte) (int, error) {
	if err := c.armRead(); err != nil {
		return 0, err
	}
	n, err := c.nc.Read(p)
	if n > 0 {
		c.answered.Store(true)
	}
	return n, err
}

func (c *conn) armRead() error {
	c.read.mu.Lock()
	defer c.read.mu.Unlock()
	if !c.read.body {
		return c.setReadLocked(c.read.by)
	}
	if c.read.idle <= 0 {
		return c.setReadLocked(time.Time{})
	}
	return c.setReadLocked(c.pool.cfg.Now().Add(c.read.idle))
}

// setHeadBy moves the point by which the head must be there; zero is never. Once
// the head has been read it does nothing, so that a late sender cannot disturb
// the body's deadlines.
func (c *conn) setHeadBy(by time.Time) {
	c.read.mu.Lock()
	defer c.read.mu.Unlock()
	if c.read.body {
		return
	}
	c.read.by = by
	_ = c.setReadLocked(by) // a dead socket shows in the read itself
}

func (c *conn) beginHead() {
	c.read.mu.Lock()
	c.read.body = false
	c.read.mu.Unlock()
}

func (c *conn) setBodyIdle(d time.Duration) {
	c.read.mu.Lock()
	c.read.body, c.read.idle = true, d
	c.read.mu.Unlock()
}

func (c *conn) setReadLocked(want time.Time) error {
	if within(c.read.set, want) {
		return nil
	}
	c.read.set = late(want)
	return c.nc.SetReadDeadline(c.read.set)
}

// armWrite gives the next write idle time; idle <= 0 is for ever. Only whoever
// writes may call it.
func (c *conn) armWrite(idle time.Duration) error {
	var want time.Time
	if idle > 0 {
		want = c.pool.cfg.Now().Add(idle)
	}
	if within(c.write, want) {
		return nil
	}
	c.write = late(want)
	return c.nc.SetWriteDeadline(c.write)
}

// within reports whether a deadline that is set serves for the one wanted.
func within(set, want time.Time) bool {
	if set.IsZero() || want.IsZero() {
		return set.IsZero() && want.IsZero()
	}
	return !set.Before(want) && set.Sub(want) <= slack
}

func late(want time.Time) time.Time {
	if want.IsZero() {
		return want
	}
	return want.Add(slack)
}

// close ends the connection for good and gives back its buffer. The caller owns c.
func (c *conn) close() {
	c.nc.Close()
	c.stopWatch()
	c.dropReader()
	c.pool.forget(c)
	if c.pin != nil {
		c.pin.lost(c)
	}
}

func (c *conn) dropReader() {
	if c.br != nil {
		c.pool.cfg.Buffers.putReader(c.br)
		c.br = nil
	}
}

// detach hands the socket to somebody else, with what was read too much.
func (c *conn) detach() (net.Conn, []byte, error) {
	rest, _ := c.br.Peek(c.br.Buffered())
	rest = append([]byte(nil), rest...)
	c.dropReader()
	c.pool.forget(c)
	if c.pin != nil {
		c.pin.lost(c)
	}
	return c.nc, rest, c.nc.SetDeadline(time.Time{})
}

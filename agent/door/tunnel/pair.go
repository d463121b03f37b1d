package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Sizes of a pump's buffers.
const (
	smallRead = 512 // while it waits
	chunkSize = 32 << 10
)

// pair runs a tunnel over any two connections: a goroutine pumps each lane, the only one to
// write to that lane's destination. To have a control frame written, it is woken from its
// read by a read deadline in the past.
type pair struct {
	t              *Tunnel
	client, server net.Conn
	chunks         *sync.Pool
	poke           chan struct{}
}

// pump reads src and writes dst.
type pump struct {
	l        *lane
	src, dst net.Conn
	first    []byte
	timeout  time.Duration // for a piece to be written
	writeBy  time.Time     // dst's write deadline
	chunks   *sync.Pool    // of *[]byte of chunkSize
	small    [smallRead]byte
}

type pumpEnd struct {
	p   *pump
	err error
}

// run passes frames until the tunnel is over, or ctx is cancelled, which cuts at once.
func (p *pair) run(ctx context.Context, cfg *Config) error {
	p.poke = make(chan struct{}, 1)
	t := p.t
	defer p.cut()
	keepAlive(p.server)
	for _, nc := range []net.Conn{p.client, p.server} {
		if err := nc.SetDeadline(time.Time{}); err != nil {
			return fmt.Errorf("clear deadlines: %w", err)
		}
	}
	limit := orElse(cfg.WriteTimeout, writeTimeout)
	up := &pump{l: &t.up, src: p.client, dst: p.server, first: cfg.ClientBuffered, timeout: limit, chunks: p.chunks}
	down := &pump{l: &t.down, src: p.server, dst: p.client, first: cfg.ServerBuffered, timeout: limit, chunks: p.chunks}
	ended := make(chan pumpEnd, 2)
	for _, x := range []*pump{up, down} {
		x.l.out, x.l.rouse = x, x.rouse
	}
	t.begin(p.nudge)
	for _, x := range []*pump{up, down} {
		go func() { ended <- pumpEnd{x, x.run()} }()
	}
	left, err := p.control(ctx, ended)
	p.cut()
	for ; left > 0; left-- {
		<-ended
	}
	return err
}

func (p *pair) nudge() {
	select {
	case p.poke <- struct{}{}:
	default:
	}
}

func (p *pair) cut() {
	_ = p.client.Close() // nobody can be told
	_ = p.server.Close()
}

// control does what fate says until the tunnel is over. It returns how many pumps
// are still running.
func (p *pair) control(ctx context.Context, ended <-chan pumpEnd) (left int, err error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for left = 2; ; {
		select {
		case <-ctx.Done():
			return left, context.Cause(ctx)
		case e := <-ended:
			left--
			if err := p.t.laneEnded(e.p.l, e.err); err != nil {
				return left, err
			}
			halfClose(e.p.dst)
		case <-p.poke:
		case <-timer.C:
		}
		if left == 0 {
			return 0, p.t.fate.err
		}
		next, over := p.t.step()
		if over {
			return left, p.t.fate.err
		}
		if !next.IsZero() {
			timer.Reset(max(next.Sub(p.t.now()), 0))
		}
	}
}

// rouse ends the pump's read.
func (x *pump) rouse() {
	_ = x.src.SetReadDeadline(time.Unix(1, 0)) // if it is dead, the pump ends anyway
}

// run passes on until src ends (io.EOF) or something breaks.
func (x *pump) run() error {
	if len(x.first) > 0 {
		if err := x.l.forward(x.first); err != nil {
			return err
		}
		x.first = nil
	}
	var big *[]byte // while data keeps coming
	defer func() {
		if big != nil {
			x.chunks.Put(big)
		}
	}()
	for {
		if err := x.l.serve(); err != nil {
			return err
		}
		buf := x.small[:]
		if big != nil {
			buf = *big
		}
		n, err := x.src.Read(buf)
		if n > 0 {
			if err := x.l.forward(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case n >= smallRead && big == nil:
			big = x.chunk()
		case n < smallRead && big != nil:
			x.chunks.Put(big)
			big = nil
		}
		if err == nil {
			continue
		}
		if err := x.woken(err); err != nil {
			return err
		}
	}
}

func (x *pump) chunk() *[]byte {
	if b, ok := x.chunks.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, chunkSize)
	return &b
}

// woken returns nil if a read ended because somebody wants something.
func (x *pump) woken(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = x.src.SetReadDeadline(time.Time{})
		if err == nil {
			return nil
		}
	}
	return x.l.sourceEnded(err)
}

// slack is by how much a write deadline may be later than asked for. Within it the deadline
// is not set anew.
const slack = time.Second

// put implements sink.
func (x *pump) put(p []byte) error {
	want := x.l.t.now().Add(x.timeout)
	if x.writeBy.Before(want) {
		x.writeBy = want.Add(slack)
		if err := x.dst.SetWriteDeadline(x.writeBy); err != nil {
			return err
		}
	}
	_, err := x.dst.Write(p)
	return err
}

// halfClose tells an end that nothing more comes.
func halfClose(nc net.Conn) {
	if c, ok := nc.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // both connections are closed soon anyway
	}
}

// sourceEnded is the lane's end when reading failed.
func (l *lane) sourceEnded(err error) error {
	if errors.Is(err, io.EOF) {
		if l.scan.atBoundary() {
			return io.EOF
		}
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read from %s: %w", l.name(l.fromClient), err)
}

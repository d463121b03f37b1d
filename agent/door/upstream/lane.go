package upstream

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

const (
	smallRead   = 512    // what a waiting lane holds
	pingPayload = 8 + 4  // marker, number
	heldPong    = 6 + 12 // a masked pong to one of our pings
)

// lane is one direction of a tunnel. Its goroutine alone reads src, writes dst and
// touches the plain members.
type lane struct {
	t          *Tunnel
	src, dst   net.Conn
	first      []byte
	fromClient bool

	scan     frameScanner
	held     []byte    // a frame that may be a pong of ours, not passed on yet
	shut     bool      // dst has had a close frame: nothing may follow
	writeSet time.Time // dst's write deadline
	small    [smallRead]byte

	sawClose  atomic.Bool // src has sent a close frame
	pending   atomic.Bool // one of the following is set
	wantPing  atomic.Uint32
	wantClose atomic.Uint32 // the code
}

type laneEnd struct {
	lane *lane
	err  error
}

// want has a control frame written at the next boundary. It may be called by any
// goroutine.
func (l *lane) want(what *atomic.Uint32, value uint32) {
	what.Store(value)
	l.pending.Store(true)
	_ = l.src.SetReadDeadline(time.Unix(1, 0)) // if it is dead, the lane ends anyway
}

// run passes on until src ends (io.EOF) or something breaks.
func (l *lane) run() error {
	if len(l.first) > 0 {
		if err := l.forward(l.first); err != nil {
			return err
		}
		l.first = nil
	}
	bufs := l.t.cfg.Buffers
	var big *[]byte // while data keeps coming
	defer func() {
		if big != nil {
			bufs.putChunk(big)
		}
	}()
	for {
		if err := l.serve(); err != nil {
			return err
		}
		buf := l.small[:]
		if big != nil {
			buf = *big
		}
		n, err := l.src.Read(buf)
		if n > 0 {
			if err := l.forward(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case n >= smallRead && big == nil:
			big = bufs.chunk()
		case n < smallRead && big != nil:
			bufs.putChunk(big)
			big = nil
		}
		if err == nil {
			continue
		}
		if err := l.woken(err); err != nil {
			return err
		}
	}
}

// woken returns nil if a read ended because somebody wants something.
func (l *lane) woken(err error) error {
	if isTimeout(err) {
		err = l.src.SetReadDeadline(time.Time{})
		if err == nil {
			return nil
		}
	}
	if errors.Is(err, io.EOF) && l.scan.atBoundary() {
		return io.EOF
	}
	return fmt.Errorf("read from %s: %w", l.name(l.fromClient), unexpected(err))
}

func (l *lane) name(client bool) string {
	if client {
		return "client"
	}
	return "engine"
}

// forward passes p on, frame by frame, with what is wanted in between.
func (l *lane) forward(p []byte) error {
	now := l.t.cfg.Now().UnixNano()
	if l.fromClient {
		l.t.heard.Store(now)
		l.t.unanswered.Store(0)
	}
	from := 0 // p[from:at] has been scanned and not written
	for at := 0; (at < len(p) || l.scan.due()) && !l.sawClose.Load(); {
		if l.mayHold(p[at:]) {
			if err := l.write(p[from:at], true); err != nil {
				return err
			}
			l.held = make([]byte, 0, heldPong)
			from = at
		}
		n, ev, err := l.scan.scan(p[at:], l.fromClient)
		if err != nil {
			return fmt.Errorf("frame of %s: %w", l.name(l.fromClient), err)
		}
		at += n
		if !l.scan.control() {
			l.t.user.Store(now)
		}
		if l.held != nil {
			l.held = append(l.held, p[from:at]...)
			from = at
		}
		if ev == inFrame {
			break
		}
		if from, err = l.event(ev, p, from, at); err != nil {
			return err
		}
	}
	if l.sawClose.Load() {
		return nil // the rest is discarded (RFC 6455 1.4)
	}
	return l.write(p[from:], true)
}

// event handles a header or an end at p[at], and returns where what is to be written
// begins now.
func (l *lane) event(ev frameEvent, p []byte, from, at int) (int, error) {
	if ev == headRead {
		if l.held != nil && l.scan.left != pingPayload {
			return at, l.release()
		}
		return from, nil
	}
	if l.held != nil {
		if ours := l.ourPong(); ours {
			l.held = nil
			return at, l.serve()
		}
		if err := l.release(); err != nil {
			return at, err
		}
	}
	l.countFrame()
	closes := l.scan.opcode() == opClose
	if !closes && !l.pending.Load() {
		return from, nil
	}
	if err := l.write(p[from:at], true); err != nil {
		return at, err
	}
	if !closes {
		return at, l.serve()
	}
	l.shut = true
	l.sawClose.Store(true)
	select {
	case l.t.poke <- struct{}{}:
	default:
	}
	return at, nil
}

// mayHold reports whether a frame that begins p may be the answer to a ping of
// ours and has to be kept back until that is known.
func (l *lane) mayHold(p []byte) bool {
	return l.fromClient && l.scan.atBoundary() && p[0] == finBit|opPong && l.t.pings.Load() > 0
}

// release passes on what was held after all.
func (l *lane) release() error {
	held := l.held
	l.held = nil
	return l.write(held, true)
}

// ourPong reports whether the held frame carries the payload of one of our pings.
func (l *lane) ourPong() bool {
	const head = 2 + 4
	if len(l.held) != heldPong {
		return false
	}
	var payload [pingPayload]byte
	for i := range payload {
		payload[i] = l.held[head+i] ^ l.held[2+i%4]
	}
	number := binary.BigEndian.Uint32(payload[len(l.t.marker):])
	return bytes.Equal(payload[:len(l.t.marker)], l.t.marker[:]) && 1 <= number && number <= l.t.pings.Load()
}

// serve writes the control frames that are wanted, if dst is between two frames.
func (l *lane) serve() error {
	if !l.pending.Load() || l.shut || !l.scan.atBoundary() && l.held == nil {
		return nil
	}
	l.pending.Store(false)
	var b []byte
	if l.wantPing.Swap(0) != 0 {
		payload := append([]byte(nil), l.t.marker[:]...)
		payload = binary.BigEndian.AppendUint32(payload, l.t.pings.Add(1))
		b = appendFrame(b, opPing, payload, nil)
		l.t.unanswered.CompareAndSwap(0, l.t.cfg.Now().UnixNano())
	}
	code := l.wantClose.Load()
	if code != 0 {
		b = appendFrame(b, opClose, binary.BigEndian.AppendUint16(nil, uint16(code)), l.key())
	}
	err := l.write(b, false)
	l.shut = l.shut || code != 0
	return err
}

// key is a fresh masking key towards the engine, and nil towards the client.
func (l *lane) key() *[4]byte {
	if !l.fromClient {
		return nil
	}
	key := new([4]byte)
	_, _ = rand.Read(key[:]) // never fails; unpredictable, as RFC 6455 5.3 asks
	return key
}

// write writes p to dst, or nothing after a close frame. passed says that p is not
// our own.
func (l *lane) write(p []byte, passed bool) error {
	if len(p) == 0 || l.shut {
		return nil
	}
	want := l.t.cfg.Now().Add(l.t.cfg.WriteTimeout)
	if !within(l.writeSet, want) {
		l.writeSet = late(want)
		if err := l.dst.SetWriteDeadline(l.writeSet); err != nil {
			return fmt.Errorf("write to %s: %w", l.name(!l.fromClient), err)
		}
	}
	if _, err := l.dst.Write(p); err != nil {
		return fmt.Errorf("write to %s: %w", l.name(!l.fromClient), err)
	}
	if passed {
		l.countBytes(len(p))
	}
	return nil
}

func (l *lane) countBytes(n int) {
	for _, c := range []*TunnelCounters{&l.t.counters, l.t.cfg.Counters} {
		switch {
		case c == nil:
		case l.fromClient:
			c.BytesToServer.Add(int64(n))
		default:
			c.BytesToClient.Add(int64(n))
		}
	}
}

func (l *lane) countFrame() {
	for _, c := range []*TunnelCounters{&l.t.counters, l.t.cfg.Counters} {
		switch {
		case c == nil || l.shut:
		case l.fromClient:
			c.FramesToServer.Add(1)
		default:
			c.FramesToClient.Add(1)
		}
	}
}

// halfClose tells dst that nothing more comes.
func (l *lane) halfClose() {
	if c, ok := l.dst.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // both connections are closed soon anyway
	}
}

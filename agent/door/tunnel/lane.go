package tunnel

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

const (
	pingPayload = 8 + 4  // marker, number
	heldPong    = 6 + 12 // a masked pong to one of our pings
)

// lane is one direction of a tunnel: what comes in, frame by frame, and what goes out. Only
// its runner may call its methods, but for want.
type lane struct {
	t          *Tunnel
	out        sink
	fromClient bool
	over       bool // its source has ended; for whoever decides

	scan frameScanner
	held []byte // a frame that may be a pong of ours, not passed on yet
	shut bool   // out has had a close frame: nothing may follow

	sawClose  atomic.Bool // the source has sent a close frame
	pending   atomic.Bool // one of the following is set
	wantPing  atomic.Uint32
	wantClose atomic.Uint32 // the code
	rouse     func()        // has the runner call serve; nil when it does so anyway
}

// sink is where a lane leads: put passes all of p on, or keeps what is left of it.
type sink interface{ put(p []byte) error }

// want has a control frame written at the next boundary. It may be called by any
// goroutine.
func (l *lane) want(what *atomic.Uint32, value uint32) {
	what.Store(value)
	l.pending.Store(true)
	if l.rouse != nil {
		l.rouse()
	}
}

func (l *lane) name(client bool) string {
	if client {
		return "client"
	}
	return "engine"
}

// forward passes p on, frame by frame, with what is wanted in between.
func (l *lane) forward(p []byte) error {
	now := l.t.now().UnixNano()
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
	l.t.nudge()
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

// serve writes the control frames that are wanted, if the destination is between two frames.
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
		l.t.unanswered.CompareAndSwap(0, l.t.now().UnixNano())
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

// write writes p, or nothing after a close frame. passed says that p is not
// our own.
func (l *lane) write(p []byte, passed bool) error {
	if len(p) == 0 || l.shut {
		return nil
	}
	if err := l.out.put(p); err != nil {
		return fmt.Errorf("write to %s: %w", l.name(!l.fromClient), err)
	}
	if passed {
		l.countBytes(len(p))
	}
	return nil
}

func (l *lane) countBytes(n int) {
	for _, c := range [2]*Counters{&l.t.counters, l.t.total} {
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
	for _, c := range [2]*Counters{&l.t.counters, l.t.total} {
		switch {
		case c == nil || l.shut:
		case l.fromClient:
			c.FramesToServer.Add(1)
		default:
			c.FramesToClient.Add(1)
		}
	}
}

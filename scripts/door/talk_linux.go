package main

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// talking is messages over WebSockets. A few are on their way at a time; the sockets take
// turns.
type talking struct {
	*loop
	message, echo []byte
	talkers       []*talker
	turn          int
	done          int
}

// talker is one WebSocket.
type talker struct {
	all  *talking
	fd   int
	in   []byte // the beginning of a frame
	busy bool   // an echo is missing
}

// talk measures messages.
func (t *task) talk() (sample, error) {
	l, err := openLoop()
	if err != nil {
		return sample{}, err
	}
	all := &talking{
		loop: l, message: appendFrame(nil, textFrame, pattern(messageBytes), true),
		echo: appendFrame(nil, textFrame, pattern(messageBytes), false),
	}
	for range t.Sockets {
		s, err := dial(t.Address)
		if err != nil {
			return sample{}, err
		}
		cookie, err := t.introduce(s)
		if err != nil {
			return sample{}, fmt.Errorf("open a session: %w", err)
		}
		if err := t.upgrade(s, cookie); err != nil {
			return sample{}, err
		}
		one := &talker{all: all, fd: int(s)}
		all.talkers = append(all.talkers, one)
		if err := l.add(one.fd, one); err != nil {
			return sample{}, err
		}
	}
	for range t.Flying {
		if err := all.next(); err != nil {
			return sample{}, err
		}
	}
	return l.measure(t, func() float64 { return float64(all.done) })
}

// next lets the socket speak that has been silent for longest. There are more sockets
// than messages on their way.
func (all *talking) next() error {
	for {
		one := all.talkers[all.turn]
		all.turn = (all.turn + 1) % len(all.talkers)
		if !one.busy {
			one.busy = true
			return one.send(all.message)
		}
	}
}

// send writes a frame; so little always fits.
func (o *talker) send(p []byte) error {
	n, err := unix.Write(o.fd, p)
	if err != nil || n < len(p) {
		return fmt.Errorf("send a message: %d of %d bytes: %w", n, len(p), errors.Join(err, errFrame))
	}
	return nil
}

func (o *talker) ready() error {
	n, err := unix.Read(o.fd, o.all.buf)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return nil
	case err != nil:
		return fmt.Errorf("read a message: %w", err)
	case n == 0:
		return fmt.Errorf("the proxy closed a WebSocket after %d messages", o.all.done)
	}
	p := o.all.buf[:n]
	if len(o.in) == 0 && bytes.Equal(p, o.all.echo) {
		return o.heard()
	}
	o.in = append(o.in, p...)
	return o.frames()
}

func (o *talker) heard() error {
	if !o.busy {
		return errors.New("an echo came twice")
	}
	o.busy = false
	o.all.done++
	return o.all.next()
}

// frames are what came in pieces, or is no echo.
func (o *talker) frames() error {
	for {
		f, n, err := nextFrame(o.in)
		if err != nil || n == 0 {
			return err
		}
		switch {
		case f.first == textFrame && bytes.Equal(f.payload, o.all.echo[2:]):
			err = o.heard()
		case f.first == pingFrame:
			err = o.send(appendFrame(nil, pongFrame, f.payload, true))
		default:
			err = fmt.Errorf("the proxy sent a frame %#x of %d bytes: %w", f.first, len(f.payload), errFrame)
		}
		if err != nil {
			return err
		}
		o.in = append(o.in[:0], o.in[n:]...)
	}
}

package memnet

import (
	"bytes"
	"net"
	"sync"
	"time"
)

// window is how much one direction holds, in flight and unread, before writes
// block.
const window = 1 << 20

// link is one connection: two ends and two directions under one lock.
type link struct {
	net  *Net
	mu   sync.Mutex
	cond *sync.Cond
	ends [2]*conn
	dirs [2]direction // dirs[i] carries what ends[i] writes
}

// direction is one way through a link.
type direction struct {
	flight  []segment    // sent, not arrived; in order
	arrived bytes.Buffer // may be read
	size    int          // bytes in both
	condition
	timer *time.Timer // fires when the first segment in flight is due

	fin   bool // arrived: the reader gets EOF after the bytes
	gone  bool // arrived: the sender reads no more; writes to it break the pipe
	reset bool // arrived: both directions are over
}

// segment is what travels: bytes, or one of TCP's signals.
type segment struct {
	data             []byte
	fin, gone, reset bool
	due              time.Time
}

func newLink(n *Net, hosts [2]*Host, addrs [2]net.Addr, network string) *link {
	l := &link{net: n}
	l.cond = sync.NewCond(&l.mu)
	for i := range l.ends {
		l.ends[i] = &conn{link: l, side: i, host: hosts[i], network: network, local: addrs[i], remote: addrs[1-i]}
	}
	return l
}

// set puts faults on or off and delivers what they held back.
func (l *link) set(faults [2]condition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, c := range faults {
		l.dirs[i].condition = c
		l.deliver(i)
	}
}

// open counts the ends that are not closed.
func (l *link) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, c := range l.ends {
		if !c.closed && !c.killed {
			n++
		}
	}
	return n
}

// reset ends the link for the processes of h, and for the far end when that can
// hear of it.
func (l *link) reset(h *Host) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, c := range l.ends {
		if c.host != h || c.killed {
			continue
		}
		c.killed = true
		l.send(i, segment{reset: true})
	}
	l.cond.Broadcast()
}

// snap ends the link for both sides, as soon as each can hear of it.
func (l *link) snap() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.ends {
		l.send(i, segment{reset: true})
	}
}

// send puts a segment on its way from ends[i]. The caller holds mu.
func (l *link) send(i int, s segment) {
	d := &l.dirs[i]
	d.size += len(s.data)
	if d.delay == 0 && d.late == nil && !d.cut && len(d.flight) == 0 {
		l.arrive(i, s)
		return
	}
	// A copy: the caller of Write may use its bytes again.
	s.data = append([]byte(nil), s.data...)
	s.due = time.Now().Add(d.delay)
	if d.late != nil {
		s.due = s.due.Add(d.late())
	}
	d.flight = append(d.flight, s)
	l.deliver(i)
}

// deliver moves what is due to the reader. The caller holds mu.
func (l *link) deliver(i int) {
	d := &l.dirs[i]
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.cut {
		return
	}
	now := time.Now()
	for len(d.flight) > 0 && !d.flight[0].due.After(now) {
		s := d.flight[0]
		d.flight = d.flight[1:]
		l.arrive(i, s)
	}
	if len(d.flight) > 0 {
		d.timer = time.AfterFunc(d.flight[0].due.Sub(now), func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.deliver(i)
		})
	}
}

// arrive hands one segment to the reader. The caller holds mu.
func (l *link) arrive(i int, s segment) {
	d := &l.dirs[i]
	if l.ends[1-i].closed {
		d.size -= len(s.data)
	} else {
		d.arrived.Write(s.data)
	}
	d.fin = d.fin || s.fin
	d.gone = d.gone || s.gone
	d.reset = d.reset || s.reset
	l.cond.Broadcast()
}

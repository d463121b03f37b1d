// Package memnet is a network in memory, for tests: hosts with addresses, TCP-like
// connections between them, and faults that a test can switch on and off.
//
//	      memnet.New()
//	     /            \
//	Host("a")       Host("b")        each is a transport.Network
//	     \            /
//	   one link per connection       two directions, each a queue of segments:
//	                                 written -> in flight -> arrived -> read
//
// A cut keeps segments in flight: nothing is delivered, lost or closed, as with a
// cable that has been pulled, and TCP delivers when it is plugged in again. All
// waiting is by conditions, channels and timers, so that a bubble of
// testing/synctest goes idle and its clock moves.
//
// Everything here is safe for concurrent use.
package memnet

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Net is a network. The zero value is not usable; call New.
type Net struct {
	mu      sync.Mutex // taken before a link's, never after
	hosts   map[string]*Host
	routes  map[netip.Addr]*Host
	cuts    map[path]bool
	lates   map[path]func() time.Duration
	links   map[*link]bool
	changed chan struct{} // closed and replaced when a waiting dial should look again
	delay   time.Duration
}

// path is one direction between two hosts.
type path struct{ from, to *Host }

// New returns a network without hosts.
func New() *Net {
	return &Net{
		hosts:   make(map[string]*Host),
		routes:  make(map[netip.Addr]*Host),
		cuts:    make(map[path]bool),
		lates:   make(map[path]func() time.Duration),
		links:   make(map[*link]bool),
		changed: make(chan struct{}),
	}
}

// Host adds a host. Its name resolves to its address on every host of the
// network. It panics when the address is malformed or the name is taken, for
// both are mistakes in a test.
func (n *Net) Host(name, ip string) *Host {
	addr := netip.MustParseAddr(ip).Unmap()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[name] != nil || n.routes[addr] != nil {
		panic(fmt.Sprintf("memnet: host %s at %s exists", name, ip))
	}
	h := &Host{net: n, name: name, ip: addr, tcp: make(map[netip.AddrPort]*listener), unix: make(map[string]*listener), ephemeral: firstEphemeral}
	n.hosts[name] = h
	n.routes[addr] = h
	return h
}

// Cut makes a black hole between a and b, in both directions: what is sent is
// neither delivered nor refused, and dials wait for their context.
func (n *Net) Cut(a, b *Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[path{a, b}], n.cuts[path{b, a}] = true, true
	n.apply()
}

// CutOneWay makes a black hole for what from sends to to. A dial in either
// direction waits, for its handshake needs both.
func (n *Net) CutOneWay(from, to *Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[path{from, to}] = true
	n.apply()
}

// Isolate cuts h from every other host, also from those added later. Its
// loopback works on.
func (n *Net) Isolate(h *Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h.isolated = true
	n.apply()
}

// HealOneWay ends the cut of what from sends to to, and leaves the other direction as it
// is. What was sent meanwhile arrives now.
func (n *Net) HealOneWay(from, to *Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cuts, path{from, to})
	n.apply()
}

// Heal ends the cuts between a and b. What was sent meanwhile arrives now. A
// host that is isolated stays so.
func (n *Net) Heal(a, b *Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cuts, path{a, b})
	delete(n.cuts, path{b, a})
	n.apply()
}

// HealHost ends every cut that touches h, and its isolation.
func (n *Net) HealHost(h *Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h.isolated = false
	for p := range n.cuts {
		if p.from == h || p.to == h {
			delete(n.cuts, p)
		}
	}
	n.apply()
}

// HealAll ends every cut and every isolation.
func (n *Net) HealAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cuts)
	for _, h := range n.hosts {
		h.isolated = false
	}
	n.apply()
}

// SetDelay sets how long a segment travels between two hosts; a dial takes twice
// that. Loopback has no delay. What is in flight already keeps its time.
func (n *Net) SetDelay(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay = d
	n.apply()
}

// SetLate makes each segment that from sends to to travel by() longer than the delay
// says: jitter, or losses as TCP shows them, which is a wait for the retransmission that
// holds up what was sent later on the same connection. Connections overtake each other.
// nil ends it. by is called for each segment, from any goroutine; it must not call the
// network.
func (n *Net) SetLate(from, to *Host, by func() time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if by == nil {
		delete(n.lates, path{from, to})
	} else {
		n.lates[path{from, to}] = by
	}
	n.apply()
}

// Break resets every connection between a and b, as a middlebox does that has lost its
// table: both ends get ECONNRESET. Listeners stay.
func (n *Net) Break(a, b *Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for l := range n.links {
		if h0, h1 := l.ends[0].host, l.ends[1].host; h0 == a && h1 == b || h0 == b && h1 == a {
			l.snap()
		}
	}
}

// Reset does what the death of every process on h does: its listeners close, and
// every connection ends with ECONNRESET, at the far end as soon as that can hear
// of it. The host may listen again at once.
func (n *Net) Reset(h *Host) {
	n.mu.Lock()
	var closing []*listener
	for _, l := range h.tcp {
		closing = append(closing, l)
	}
	for _, l := range h.unix {
		closing = append(closing, l)
	}
	for _, l := range closing {
		l.shut()
	}
	for l := range n.links {
		l.reset(h)
		if l.open() == 0 {
			delete(n.links, l)
		}
	}
	n.mu.Unlock()
	for _, l := range closing {
		l.drain()
	}
}

// Conns counts the ends of connections that nobody has closed, those that wait
// in a listener's queue included: zero when a test has cleaned up. The ends on a
// host that was Reset do not count, for their process is gone.
func (n *Net) Conns() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	open := 0
	for l := range n.links {
		open += l.open()
	}
	return open
}

// blocked reports whether what from sends does not reach to. The caller holds mu.
func (n *Net) blocked(from, to *Host) bool {
	if from == to {
		return false
	}
	return from.isolated || to.isolated || n.cuts[path{from, to}]
}

// apply brings every link in line with the cuts and the delay, and wakes dials.
// The caller holds mu.
func (n *Net) apply() {
	for l := range n.links {
		l.set(n.conditions(l.ends[0].host, l.ends[1].host))
	}
	n.wake()
}

// condition is what is wrong with one direction between two hosts.
type condition struct {
	cut   bool
	delay time.Duration
	late  func() time.Duration // nil: nothing on top of delay
}

// conditions are those from a to b and back.
func (n *Net) conditions(a, b *Host) [2]condition {
	if a == b {
		return [2]condition{}
	}
	return [2]condition{
		{n.blocked(a, b), n.delay, n.lates[path{a, b}]},
		{n.blocked(b, a), n.delay, n.lates[path{b, a}]},
	}
}

// wake makes waiting dials look again. The caller holds mu.
func (n *Net) wake() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// forget drops a link when both of its ends are closed.
func (n *Net) forget(l *link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.open() == 0 {
		delete(n.links, l)
	}
}

func opError(op, network string, source, addr net.Addr, err error) error {
	return &net.OpError{Op: op, Net: network, Source: source, Addr: addr, Err: err}
}

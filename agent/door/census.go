package door

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// census counts the connections of users, so that no one user, and not all of them, take
// what the others need. The zero value is ready.
type census struct {
	mu      sync.Mutex
	all     int
	perAddr map[netip.Addr]int
}

// limits are what a census keeps to; 0 is no limit.
type limits struct{ all, perAddr int }

// Why a connection is not taken.
var (
	errTooMany     = errors.New("too many connections")
	errTooManyHere = errors.New("too many connections of one address")
)

// enter counts a connection in; addr is the zero Addr for one that is not counted by
// address. On an error it was not counted.
func (c *census) enter(addr netip.Addr, l limits) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case l.all > 0 && c.all >= l.all:
		return errTooMany
	case addr.IsValid() && l.perAddr > 0 && c.perAddr[addr] >= l.perAddr:
		return errTooManyHere
	}
	c.all++
	if addr.IsValid() {
		if c.perAddr == nil {
			c.perAddr = map[netip.Addr]int{}
		}
		c.perAddr[addr]++
	}
	return nil
}

func (c *census) leave(addr netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if addr.IsValid() {
		if c.perAddr[addr]--; c.perAddr[addr] == 0 {
			delete(c.perAddr, addr)
		}
	}
}

func (c *census) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}

// Descriptors of the process that are not for users: the cluster's connections, files,
// and listeners.
const otherDescriptors = 256

// connectionLimits are those in force. A connection of a user may need another one to an
// engine or an agent, so that half of the descriptors is the most.
func (d *Door) connectionLimits() limits {
	t := &d.settings().Traffic
	l := limits{t.MaxConnections, t.MaxConnectionsPerAddress}
	if n := d.cfg.Descriptors; n > 0 {
		if most := max((n-otherDescriptors)/2, 1); l.all == 0 || most < l.all {
			l.all = most
		}
	}
	return l
}

// admit counts a connection of a user in, or tells that it is not taken. Proxies that may
// speak for their users are many users in one address.
func (d *Door) admit(c *clientConn) bool {
	addr := c.addr().addr
	if c.trusts(d.settings()) {
		addr = netip.Addr{}
	}
	err := d.census.enter(addr, d.connectionLimits())
	if err == nil {
		c.left = func() { d.census.leave(addr) }
		c.streams.addr = addr
		return true
	}
	status, code, wait := http.StatusServiceUnavailable, "too_many_connections", 5*time.Second
	if errors.Is(err, errTooManyHere) {
		status, code = http.StatusTooManyRequests, "too_many_connections_of_address"
	}
	d.metrics.refuse(code)
	if !c.secure { // a handshake would cost more than the request
		turnAway(c.Conn, status, code, wait)
	}
	_ = c.Close()
	return false
}

// turnAway answers whatever the client asks, which has to have begun: an answer to nothing
// is a fault to programs that keep connections.
func turnAway(nc net.Conn, status int, code string, wait time.Duration) {
	text := http.StatusText(status) + "\n"
	b := "HTTP/1.1 " + strconv.Itoa(status) + " " + http.StatusText(status) + "\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\nContent-Length: " + strconv.Itoa(len(text)) + "\r\n" +
		"Retry-After: " + strconv.Itoa(int(wait/time.Second)) + "\r\nCache-Control: no-store\r\n" +
		fieldError + ": " + code + "\r\nConnection: close\r\n\r\n" + text
	_ = nc.SetDeadline(time.Now().Add(time.Second))
	var rest [4 << 10]byte
	if _, err := nc.Read(rest[:]); err != nil {
		return
	}
	if _, err := nc.Write([]byte(b)); err != nil {
		return
	}
	// What the client still sends would reset the connection, and the answer be lost.
	if w, ok := nc.(interface{ CloseWrite() error }); ok && w.CloseWrite() == nil {
		for {
			if _, err := nc.Read(rest[:]); err != nil {
				return
			}
		}
	}
}

package memnet

import "net"

// backlog is how many connections wait for Accept; further dials wait.
const backlog = 128

// listener implements net.Listener.
type listener struct {
	host    *Host
	network string
	addr    net.Addr
	queue   chan *conn
	done    chan struct{}
	remove  func() // takes it off its host; called with net.mu held
	closed  bool   // guarded by net.mu
}

func newListener(h *Host, network string, addr net.Addr) *listener {
	return &listener{host: h, network: network, addr: addr, queue: make(chan *conn, backlog), done: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.done: // closed wins over a connection that is about to be dropped
		return nil, l.closedError("accept")
	default:
	}
	select {
	case c := <-l.queue:
		if len(l.queue) == cap(l.queue)-1 {
			l.host.net.mu.Lock()
			l.host.net.wake()
			l.host.net.mu.Unlock()
		}
		return c, nil
	case <-l.done:
		return nil, l.closedError("accept")
	}
}

// Close implements net.Listener. Connections that wait in the queue are closed.
func (l *listener) Close() error {
	n := l.host.net
	n.mu.Lock()
	ours := l.shut()
	n.mu.Unlock()
	if !ours {
		return l.closedError("close")
	}
	l.drain()
	return nil
}

// shut takes the listener off its host, and reports false when that was done
// before. The caller holds net.mu, and drains when it got true.
func (l *listener) shut() bool {
	if l.closed {
		return false
	}
	l.closed = true
	l.remove()
	l.host.net.wake() // dials that wait for room are refused now
	close(l.done)
	return true
}

// drain closes what nobody will accept. The listener is off its host already, so
// that nothing is added.
func (l *listener) drain() {
	for {
		select {
		case c := <-l.queue:
			c.Close()
		default:
			return
		}
	}
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) closedError(op string) error {
	return opError(op, l.network, nil, l.addr, net.ErrClosed)
}

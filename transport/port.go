package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// DefaultPort is the cluster port when nothing else is said.
const DefaultPort = "14747"

// Limits of a port.
const (
	HandshakeTimeout = 5 * time.Second
	DialTimeout      = 5 * time.Second // when the context has no deadline
	maxHandshakes    = 1024            // at once; more are closed unheard
	maxConns         = 65536
	backlog          = 1024 // finished handshakes that wait for Accept, a protocol
)

// Target is whom to dial. The certificate must name ID; an empty ID is for gossip
// by address alone, where any node of the cluster will do.
type Target struct {
	ID   peer.ID
	Addr string // host:port
}

// Port is the cluster port. Open binds it, Run serves it, Close ends it and every
// connection, accepted or dialled.
type Port struct {
	nw    Network
	ln    net.Listener
	creds *Credentials
	log   zerolog.Logger
	stats *stats

	mu     sync.Mutex
	subs   map[Proto]*protoListener
	conns  map[*Conn]struct{}
	raw    map[net.Conn]struct{} // in their handshake
	closed bool
	wg     sync.WaitGroup
}

// Config is what Open needs.
type Config struct {
	Network     Network
	Addr        string // host:port to bind
	Credentials *Credentials
	Log         zerolog.Logger
	Registerer  prometheus.Registerer // nil: metrics are kept but not registered
}

// Open binds the port; nothing is served before Run.
func Open(ctx context.Context, cfg Config) (*Port, error) {
	ln, err := cfg.Network.Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("open cluster port %s: %w", cfg.Addr, err)
	}
	return &Port{
		nw: cfg.Network, ln: ln, creds: cfg.Credentials, log: cfg.Log, stats: newStats(cfg.Registerer),
		subs: map[Proto]*protoListener{}, conns: map[*Conn]struct{}{}, raw: map[net.Conn]struct{}{},
	}, nil
}

// Addr is the bound address.
func (p *Port) Addr() net.Addr { return p.ln.Addr() }

// Listen returns the listener of one protocol. Until somebody listens, the protocol
// is refused in the handshake. Listening twice for one is a defect and panics.
func (p *Port) Listen(proto Proto) net.Listener {
	l := &protoListener{port: p, proto: proto, conns: make(chan net.Conn, backlog), done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.subs[proto] != nil {
		panic("transport: second listener for " + string(proto))
	}
	if p.closed {
		close(l.done)
		l.once.Do(func() {})
		return l
	}
	p.subs[proto] = l
	return l
}

func (p *Port) forget(l *protoListener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.subs[l.proto] == l {
		delete(p.subs, l.proto)
	}
}

func (p *Port) listener(proto Proto) *protoListener {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.subs[proto]
}

// Run accepts connections until ctx ends or the port is closed.
func (p *Port) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { p.ln.Close() })
	defer stop()
	pause := time.Duration(0)
	for {
		c, err := p.ln.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Out of descriptors, most likely: wait for some to come back.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			p.log.Warn().Err(err).Msg("cannot accept on the cluster port")
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			continue
		}
		pause = 0
		if !p.admit(c) {
			p.stats.handshakes.WithLabelValues("overload").Inc()
			c.Close()
			continue
		}
		go p.serve(c)
	}
}

// admit counts a raw connection in, within the limits; serve must follow.
func (p *Port) admit(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.raw) >= maxHandshakes || len(p.conns) >= maxConns {
		return false
	}
	p.raw[c] = struct{}{}
	p.wg.Add(1)
	return true
}

func (p *Port) serve(raw net.Conn) {
	defer p.wg.Done()
	c, err := p.handshake(raw)
	p.mu.Lock()
	delete(p.raw, raw)
	p.mu.Unlock()
	if err != nil {
		p.stats.handshakes.WithLabelValues("refused").Inc()
		p.log.Debug().Err(err).Stringer(logs.Addr, raw.RemoteAddr()).Msg("connection refused on the cluster port")
		raw.Close()
		return
	}
	p.stats.handshakes.WithLabelValues("ok").Inc()
	l := p.listener(c.proto)
	if l == nil {
		c.Close()
		return
	}
	select {
	case l.conns <- c:
	default:
		p.log.Warn().Str(logs.Proto, string(c.proto)).Msg("connections wait too long for their protocol")
		c.Close()
	}
	select {
	case <-l.done: // closed between the look-up and now
		c.Close()
	default:
	}
}

func (p *Port) handshake(raw net.Conn) (*Conn, error) {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			return p.creds.server(h, func(proto Proto) bool { return p.listener(proto) != nil })
		},
	}
	ctx, cancel := context.WithTimeout(context.Background(), HandshakeTimeout)
	defer cancel()
	tc := tls.Server(raw, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return p.track(tc)
}

// track makes the connection ours, after one more look at what was agreed.
func (p *Port) track(tc *tls.Conn) (*Conn, error) {
	cs := tc.ConnectionState()
	c := &Conn{Conn: tc, tls: tc, proto: Proto(cs.NegotiatedProtocol), untie: p.untrack}
	if c.proto != ProtoJoin {
		if len(cs.VerifiedChains) == 0 {
			return nil, errors.New("no verified certificate")
		}
		id, err := IdentityOf(cs.PeerCertificates[0])
		if err != nil {
			return nil, err
		}
		c.peer = id
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, net.ErrClosed
	}
	p.conns[c] = struct{}{}
	p.stats.conns.WithLabelValues(string(c.proto)).Inc()
	return c, nil
}

func (p *Port) untrack(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.conns[c]; ok {
		delete(p.conns, c)
		p.stats.conns.WithLabelValues(string(c.proto)).Dec()
	}
}

// Dial reaches another node's port. The connection is tracked like accepted ones.
func (p *Port) Dial(ctx context.Context, to Target, proto Proto) (net.Conn, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DialTimeout)
		defer cancel()
	}
	cfg, err := p.creds.client(to, proto)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", to.Addr, err)
	}
	raw, err := p.nw.DialContext(ctx, "tcp", to.Addr)
	if err != nil {
		p.stats.dials.WithLabelValues(string(proto), "unreachable").Inc()
		return nil, fmt.Errorf("dial %s: %w", to.Addr, err)
	}
	tc := tls.Client(raw, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		raw.Close()
		p.stats.dials.WithLabelValues(string(proto), "refused").Inc()
		return nil, fmt.Errorf("dial %s: handshake: %w", to.Addr, err)
	}
	c, err := p.track(tc)
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("dial %s: %w", to.Addr, err)
	}
	p.stats.dials.WithLabelValues(string(proto), "ok").Inc()
	return c, nil
}

// CloseConns ends every connection with the node, because it was removed.
func (p *Port) CloseConns(id peer.ID) {
	for _, c := range p.snapshot() {
		if c.peer.ID == id {
			c.Close()
		}
	}
}

// Conns counts the live connections.
func (p *Port) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

func (p *Port) snapshot() []*Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*Conn, 0, len(p.conns))
	for c := range p.conns {
		out = append(out, c)
	}
	return out
}

// Close stops listening, ends every connection, and waits for the handshakes.
func (p *Port) Close() error {
	p.mu.Lock()
	p.closed = true
	raws := make([]net.Conn, 0, len(p.raw))
	for c := range p.raw {
		raws = append(raws, c)
	}
	subs := make([]*protoListener, 0, len(p.subs))
	for _, l := range p.subs {
		subs = append(subs, l)
	}
	p.mu.Unlock()
	err := p.ln.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	for _, c := range raws {
		c.Close()
	}
	for _, l := range subs {
		l.Close()
	}
	var closing sync.WaitGroup
	for _, c := range p.snapshot() { // at once: a silent peer costs its close a while
		closing.Go(func() { c.Close() })
	}
	closing.Wait()
	p.wg.Wait()
	return err
}

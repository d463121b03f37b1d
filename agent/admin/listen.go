package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// Bounds of a listener.
const (
	maxConns      = 512
	maxHeader     = 64 << 10
	headerTimeout = 5 * time.Second
	bodyTimeout   = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	closeTimeout  = 5 * time.Second // for requests under way when the listener stops
)

// ServeLocal answers callers on the agent's own socket, who are known by their
// user, until ctx ends. It closes ln and returns when no request is left.
func (s *Server) ServeLocal(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, ln, s.socket, func(ctx context.Context, c net.Conn) context.Context {
		name, err := s.cfg.SocketUser(c)
		if err != nil {
			s.log.Warn().Err(err).Msg("caller on the socket refused")
		}
		return context.WithValue(ctx, socketKey{}, socketUser{name, err})
	})
}

// ServeTCP answers callers with tokens until ctx ends. For HTTPS ln is a TLS
// listener. It closes ln and returns when no request is left.
func (s *Server) ServeTCP(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, ln, s.tcp, nil)
}

type peerKey struct{}

type peerIdentity struct {
	id    peer.ID
	class peer.Class
}

// ServePeers answers other agents on ALPN usher/api/1 until ctx ends: the internal
// routes, and no others. peerOf says who an accepted connection proved to be; a
// connection that it does not know is refused. It closes ln and returns when no
// request is left.
func (s *Server) ServePeers(ctx context.Context, ln net.Listener, peerOf func(net.Conn) (peer.ID, peer.Class, bool)) error {
	return s.serve(ctx, ln, s.peers, func(ctx context.Context, c net.Conn) context.Context {
		id, class, ok := peerOf(c)
		if !ok {
			return ctx
		}
		return context.WithValue(ctx, peerKey{}, peerIdentity{id, class})
	})
}

func (s *Server) serve(ctx context.Context, ln net.Listener, h http.Handler, who func(context.Context, net.Conn) context.Context) error {
	// Requests under way outlive ctx for a while; those that wait for news do not.
	base, cancel := context.WithCancel(context.WithValue(context.WithoutCancel(ctx), stopKey{}, ctx.Done()))
	defer cancel()
	slots := newSlots(ln)
	g := newGate()
	hs := &http.Server{
		Handler:           g.wrap(h),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext:       who,
		ConnState:         slots.connState,
		ErrorLog:          logs.Std(s.log, zerolog.DebugLevel),
	}
	served := make(chan error, 1)
	go func() { served <- hs.Serve(slots) }()
	var err error
	select {
	case err = <-served:
		served <- err
	case <-ctx.Done():
	}
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer stop()
	if hs.Shutdown(end) != nil {
		cancel()
		_ = hs.Close() // its error is the listener's, which Shutdown has closed
	}
	<-served //nolint:errcheck // judged above
	cancel()
	g.shut()
	if err != nil && !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		return fmt.Errorf("serve admin api: %w", err)
	}
	return nil
}

// slots is a listener that accepts while fewer than maxConns connections are open.
// Connections are not wrapped: http.Server tells when they close.
type slots struct {
	net.Listener
	free chan struct{}
	done chan struct{}
	once sync.Once
}

func newSlots(ln net.Listener) *slots {
	return &slots{Listener: ln, free: make(chan struct{}, maxConns), done: make(chan struct{})}
}

// Accept implements net.Listener.
func (s *slots) Accept() (net.Conn, error) {
	select {
	case s.free <- struct{}{}:
	case <-s.done:
		return nil, net.ErrClosed
	}
	c, err := s.Listener.Accept()
	if err != nil {
		<-s.free
	}
	return c, err
}

// Close implements net.Listener.
func (s *slots) Close() error {
	s.once.Do(func() { close(s.done) })
	return s.Listener.Close()
}

func (s *slots) connState(_ net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		<-s.free
	}
}

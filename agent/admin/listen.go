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
	maxHeader     = 64 << 10
	headerTimeout = 5 * time.Second
	bodyTimeout   = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	closeTimeout  = 5 * time.Second // for requests under way when the listener stops
)

// ServeLocal answers callers on the agent's own socket, who are known by their
// user, until ctx ends. It closes ln and returns when no request is left.
func (s *Server) ServeLocal(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, ln, listener{s.socket, true, func(ctx context.Context, c net.Conn) context.Context {
		name, err := s.cfg.SocketUser(c)
		if err != nil {
			s.log.Warn().Err(err).Msg("caller on the socket refused")
		}
		return context.WithValue(ctx, socketKey{}, socketUser{name, err})
	}})
}

// ServeTCP answers callers with tokens until ctx ends. For HTTPS ln is a TLS
// listener. It closes ln and returns when no request is left.
func (s *Server) ServeTCP(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, ln, listener{s.tcp, true, nil})
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
	return s.serve(ctx, ln, listener{s.peers, false, func(ctx context.Context, c net.Conn) context.Context {
		id, class, ok := peerOf(c)
		if !ok {
			return ctx
		}
		return context.WithValue(ctx, peerKey{}, peerIdentity{id, class})
	}})
}

// listener is what sets one apart from the others.
type listener struct {
	handler http.Handler
	lane    bool // it has one
	who     func(context.Context, net.Conn) context.Context
}

func (s *Server) serve(ctx context.Context, ln net.Listener, of listener) error {
	// Requests under way outlive ctx for a while; those that wait for news do not.
	base, cancel := context.WithCancel(context.WithValue(context.WithoutCancel(ctx), stopKey{}, ctx.Done()))
	defer cancel()
	slots := newSlots(ln)
	lot := newLot(base, s, slots)
	g := newGate()
	h := g.wrap(of.handler)
	connContext := func(ctx context.Context, c net.Conn) context.Context {
		c = whole(c)
		ctx = context.WithValue(context.WithValue(ctx, lotKey{}, lot), connKey{}, c)
		if of.who == nil {
			return ctx
		}
		return of.who(ctx, c)
	}
	hs := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext:       connContext,
		ConnState:         slots.connState,
		ErrorLog:          logs.Std(s.log, zerolog.DebugLevel),
	}
	door := net.Listener(slots)
	if of.lane {
		lot.lane = newFastLane(h, lot, func(c net.Conn) context.Context { return connContext(base, c) })
		lot.lane.log = s.log
		door = lot.lane
	}
	served := make(chan error, 1)
	go func() { served <- hs.Serve(door) }()
	var helpers sync.WaitGroup
	helpers.Go(func() { _ = hs.Serve(lot.returned) }) // ends when it is closed, without saying more
	stopLot := make(chan struct{})
	helpers.Go(func() { lot.run(stopLot) })
	var err error
	select {
	case err = <-served:
		served <- err
	case <-ctx.Done():
	}
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer stop()
	defer context.AfterFunc(end, cancel)() // handlers that are still at work end with it
	close(stopLot)
	lot.shut(end)
	if lot.lane != nil {
		lot.lane.shut(end)
	}
	if hs.Shutdown(end) != nil {
		cancel()
		_ = hs.Close() // its error is the listener's, which Shutdown has closed
	}
	<-served //nolint:errcheck // judged above
	cancel()
	g.shut()
	helpers.Wait()
	if err != nil && !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		return fmt.Errorf("serve admin api: %w", err)
	}
	return nil
}

package identity

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

const (
	joinReadTimeout   = 10 * time.Second
	joinAnswerTimeout = 20 * time.Second
	joinWriteTimeout  = 5 * time.Second
	maxJoins          = 16 // at once
	maxContacts       = 64 // gossip tells the rest
)

// Admit decides on a join request whose form is right: it checks the token, lets the
// node in by compare-and-set, and signs after the commit. The same request may come
// again, and must then be granted again. It returns when ctx ends, which it does
// after 20 seconds. It is called from up to 16 goroutines at once.
type Admit func(ctx context.Context, r JoinRequest, remote net.Addr) (JoinAnswer, *JoinError)

// Doorkeeper decides what ServeJoins answers. Both are required.
type Doorkeeper struct {
	Admit   Admit
	Removed func(id peer.ID) bool // as far as this server knows; safe for concurrent use
}

// ServeJoins answers joins, and questions of standing (see AskStanding), on ln, whose connections speak TLS with the cluster
// port's certificate, until ctx ends; then it closes ln, ends what is in hand, waits
// for that and returns nil. It returns an error if ln fails before. Whoever sends
// no request gets nothing back.
func ServeJoins(ctx context.Context, ln net.Listener, keeper Doorkeeper, log zerolog.Logger) error {
	s := joinServer{keeper: keeper, log: log}
	defer s.work.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before waiting for what is in hand
	defer closeWith(ctx, ln)()
	// The slot is taken before the accept, so that joins beyond the limit wait in
	// the listener's queue and cost nothing.
	slots := make(chan struct{}, maxJoins)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept join: %w", err)
		}
		s.work.Go(func() {
			defer func() { <-slots }()
			s.serve(ctx, conn)
		})
	}
}

// closeWith closes c when ctx ends. The function that it returns undoes that, or
// waits for it, so that no close goes on behind the back of whoever owns c.
func closeWith(ctx context.Context, c io.Closer) (release func()) {
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = c.Close()
	})
	return func() {
		if !stop() {
			<-closed
		}
	}
}

type joinServer struct {
	keeper Doorkeeper
	log    zerolog.Logger
	work   sync.WaitGroup
}

// serve answers one connection.
func (s *joinServer) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer closeWith(ctx, conn)()
	log := s.log.With().Stringer(logs.Addr, addrOf(conn)).Logger()

	var o opening
	_ = conn.SetDeadline(time.Now().Add(joinReadTimeout))
	if err := readFrame(conn, &o); err != nil {
		log.Debug().Err(err).Msg("no join request came")
		return
	}
	if o.Standing.Valid() {
		s.answer(conn, standingReply{Removed: s.keeper.Removed(o.Standing)}, log)
		return
	}
	r := o.JoinRequest
	if bad := r.check(); bad != nil {
		// Anybody can cause this, and nothing in r is fit for a log.
		log.Debug().Str(logs.Status, string(bad.Code)).Err(bad).Msg("join request is malformed")
		s.answer(conn, joinReply{Error: bad}, log)
		return
	}
	log = log.With().Str(logs.Peer, string(r.NodeID)).Str(logs.NodeName, r.Name).Logger()
	reply := s.decide(ctx, r, conn.RemoteAddr())
	if reply.Error != nil {
		log.Info().Str(logs.Status, string(reply.Error.Code)).Err(reply.Error).Msg("join refused")
	} else {
		log.Info().Msg("join granted")
	}
	s.answer(conn, reply, log)
}

// decide asks admit, within the time that the joiner waits.
func (s *joinServer) decide(ctx context.Context, r JoinRequest, remote net.Addr) joinReply {
	ctx, cancel := context.WithTimeout(ctx, joinAnswerTimeout)
	defer cancel()
	answer, refused := s.keeper.Admit(ctx, r, remote)
	if refused != nil {
		return joinReply{Error: refused}
	}
	answer.Contacts = answer.Contacts[:min(len(answer.Contacts), maxContacts)]
	return joinReply{Answer: &answer}
}

// answer sends a reply. One that is lost costs nothing: the joiner asks again with
// the same key and gets the same.
func (s *joinServer) answer(conn net.Conn, reply any, log zerolog.Logger) {
	_ = conn.SetDeadline(time.Now().Add(joinWriteTimeout))
	if err := writeFrame(conn, reply); err != nil {
		log.Warn().Err(err).Msg("join answer was not sent")
	}
}

// addrOf is the remote address, also of connections that have none.
func addrOf(conn net.Conn) fmt.Stringer {
	if a := conn.RemoteAddr(); a != nil {
		return a
	}
	return noAddr{}
}

type noAddr struct{}

func (noAddr) String() string { return "" }

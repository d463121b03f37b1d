package consensus

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/peer"
)

// wrapper is the Raft transport with some changes. It embeds the concrete
// transport, so that optional interfaces such as PreVote are kept.
type wrapper struct {
	*raft.NetworkTransport
	self     raft.ServerAddress
	consumer chan raft.RPC
	done     chan struct{} // closed when the pump has ended
	wg       sync.WaitGroup
	ballots  ballots // of other servers that stand for election
	side     side
	novice   *novice
	turn     chan struct{} // held over what nothing may come between
}

// side is what the wrapper has to know of this server.
type side interface {
	// awaitUp waits while a server is known to be away, and the sender's term lasts.
	awaitUp(raft.ServerID)
	// stuck reports whether this server's disk hangs.
	stuck() bool
	// known moves a request past entries that this server has.
	known(*raft.AppendEntriesRequest)
	// superfluous reports whether a snapshot holds nothing new, and our term.
	superfluous(*raft.InstallSnapshotRequest) (term uint64, yes bool)
	// reaches reports whether Raft knows of an entry of this index or a later one.
	reaches(index uint64) bool
	// rewind makes Raft forget what came after a snapshot that it has installed. ask
	// hands it a request and waits for the answer.
	rewind(req *raft.InstallSnapshotRequest, ask func(command any) raft.RPCResponse)
}

var (
	_ raft.Transport   = (*wrapper)(nil)
	_ raft.WithPreVote = (*wrapper)(nil)
	_ raft.WithClose   = (*wrapper)(nil)
)

// errStuck means that this server's disk does not answer.
var errStuck = errors.New("the disk hangs")

// errTimeoutNow answers a TimeoutNow from the network.
var errTimeoutNow = errors.New("an election is not started from outside")

const (
	rpcTimeout = 10 * time.Second
	maxPool    = 3
)

// newWrapper listens; Raft gets nothing before start.
func newWrapper(self peer.ID, stream raft.StreamLayer, log hclog.Logger, side side) *wrapper {
	nt := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: stream, MaxPool: maxPool, Timeout: rpcTimeout, Logger: log,
	})
	return &wrapper{NetworkTransport: nt, self: raft.ServerAddress(self), consumer: make(chan raft.RPC), done: make(chan struct{}), turn: make(chan struct{}, 1), side: side, novice: new(novice)}
}

// LocalAddr implements raft.Transport. It is the node's ID, never where the node
// listens: Raft keeps the address of the candidate it has voted for, and takes whoever
// asks from the same address in the same term for the same candidate. "[::]:14747" is
// everybody's, and one voter would help two leaders into one term.
func (w *wrapper) LocalAddr() raft.ServerAddress { return w.self }

// start begins to hand the network's RPCs to Raft, until stop.
func (w *wrapper) start(stop <-chan struct{}) { go w.pump(stop) }

// pump hands on what intercept leaves, and looks at the next only when Raft has answered:
// what a request is held against must not change under it. Raft does one after the
// other as well.
func (w *wrapper) pump(stop <-chan struct{}) {
	defer close(w.done)
	defer w.wg.Wait()
	for {
		select {
		case rpc := <-w.NetworkTransport.Consumer():
			if !w.intercept(rpc) {
				w.deliver(rpc, stop)
			}
		case <-stop:
			return
		}
	}
}

// deliver has Raft answer a request.
func (w *wrapper) deliver(rpc raft.RPC, stop <-chan struct{}) {
	var resp raft.RPCResponse
	if req, ok := rpc.Command.(*raft.InstallSnapshotRequest); ok && w.side.reaches(req.LastLogIndex) {
		resp = w.replace(rpc, req, stop)
	} else {
		resp = w.ask(rpc, stop)
	}
	if req, ok := rpc.Command.(*raft.AppendEntriesRequest); ok && resp.Error == nil {
		resp.Error = w.novice.answered(req, resp.Response.(*raft.AppendEntriesResponse))
	}
	rpc.Respond(resp.Response, resp.Error)
}

// replace has Raft install a snapshot in place of entries, and forget those before it
// could stand for election with them.
func (w *wrapper) replace(rpc raft.RPC, req *raft.InstallSnapshotRequest, stop <-chan struct{}) raft.RPCResponse {
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	case <-stop:
		return raft.RPCResponse{Error: raft.ErrTransportShutdown}
	}
	resp := w.ask(rpc, stop)
	if r, ok := resp.Response.(*raft.InstallSnapshotResponse); ok && r.Success && resp.Error == nil {
		w.side.rewind(req, func(command any) raft.RPCResponse { return w.ask(raft.RPC{Command: command}, stop) })
	}
	return resp
}

// ask hands Raft a request and waits for the answer. When stop is closed, Raft has ended.
func (w *wrapper) ask(rpc raft.RPC, stop <-chan struct{}) raft.RPCResponse {
	answer := make(chan raft.RPCResponse, 1)
	rpc.RespChan = answer
	select {
	case w.consumer <- rpc:
	case <-stop:
		return raft.RPCResponse{Error: raft.ErrTransportShutdown}
	}
	select {
	case resp := <-answer:
		return resp
	case <-stop:
		return raft.RPCResponse{Error: raft.ErrTransportShutdown}
	}
}

// intercept answers what Raft shall not see. A TimeoutNow is refused: only we ourselves
// may ask us to stand for election.
func (w *wrapper) intercept(rpc raft.RPC) bool {
	switch req := rpc.Command.(type) {
	case *raft.TimeoutNowRequest:
		rpc.Respond(nil, errTimeoutNow)
		return true
	case *raft.RequestVoteRequest:
		w.ballots.heard(req)
	case *raft.AppendEntriesRequest:
		bound(req)
		if err := w.novice.heard(req); err != nil {
			rpc.Respond(nil, err)
			return true
		}
		w.side.known(req)
	case *raft.InstallSnapshotRequest:
		term, yes := w.side.superfluous(req)
		if !yes {
			return false
		}
		w.wg.Go(func() { // a sender that stalls must not keep the others' requests from Raft
			_, err := io.Copy(io.Discard, rpc.Reader) // else the connection would be out of step
			rpc.Respond(&raft.InstallSnapshotResponse{
				RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}, Term: term, Success: true,
			}, err)
		})
		return true
	}
	return false
}

// AppendEntries implements raft.Transport. Entries for a server that is away wait here
// until it is reached: Raft's own waits between failures grow to ten seconds, and a
// server that comes back would be kept waiting. Heartbeats are sent in any case,
// but by a leader whose disk hangs: the others shall elect one that can write.
func (w *wrapper) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if w.side.stuck() {
		return errStuck
	}
	if heartbeat := len(req.Entries) == 0 && req.PrevLogEntry == 0 && req.LeaderCommitIndex == 0; !heartbeat {
		w.side.awaitUp(id)
	}
	return w.NetworkTransport.AppendEntries(id, to, req, resp)
}

// InstallSnapshot implements raft.Transport, and waits like AppendEntries.
func (w *wrapper) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	w.side.awaitUp(id)
	return w.NetworkTransport.InstallSnapshot(id, to, req, resp, data)
}

// Consumer implements raft.Transport.
func (w *wrapper) Consumer() <-chan raft.RPC { return w.consumer }

// SetHeartbeatHandler implements raft.Transport and does nothing: heartbeats that
// are handled beside the main loop can make nodes diverge (raft#695).
func (w *wrapper) SetHeartbeatHandler(func(raft.RPC)) {}

// stand asks our own Raft to stand for election at once.
func (w *wrapper) stand(ctx context.Context, self raft.ServerID) error {
	if w.novice.is.Load() {
		return errNovice
	}
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	resp := make(chan raft.RPCResponse, 1)
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(self), Addr: []byte(self)}
	rpc := raft.RPC{Command: &raft.TimeoutNowRequest{RPCHeader: header}, RespChan: resp}
	select {
	case w.consumer <- rpc:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case r := <-resp:
		return r.Error
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stream lets Raft listen and dial by node ID. It knows its connections, because those
// to a server that was away may hang until a timeout of the kernel's.
type stream struct {
	net.Listener
	dial func(ctx context.Context, to peer.ID) (net.Conn, error)

	mu    sync.Mutex
	conns map[peer.ID]map[*streamConn]bool
}

type streamConn struct {
	net.Conn
	to     peer.ID
	stream *stream
}

// Close implements net.Conn.
func (c *streamConn) Close() error {
	c.stream.mu.Lock()
	delete(c.stream.conns[c.to], c)
	c.stream.mu.Unlock()
	return c.Conn.Close()
}

// Dial implements raft.StreamLayer.
func (s *stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	raw, err := s.dial(ctx, peer.ID(to))
	if err != nil { // whatever it was, for Raft the peer is away
		return nil, &net.OpError{Op: "dial", Net: "raft", Err: err}
	}
	c := &streamConn{raw, peer.ID(to), s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		s.conns = map[peer.ID]map[*streamConn]bool{}
	}
	if s.conns[c.to] == nil {
		s.conns[c.to] = map[*streamConn]bool{}
	}
	s.conns[c.to][c] = true
	return c, nil
}

// hangUp closes the connections to a server; Raft dials anew.
func (s *stream) hangUp(id peer.ID) {
	s.mu.Lock()
	conns := s.conns[id]
	delete(s.conns, id)
	s.mu.Unlock()
	var wg sync.WaitGroup
	for c := range conns {
		wg.Go(func() { c.Conn.Close() }) // TLS says goodbye, for seconds to one that does not read
	}
	wg.Wait()
}

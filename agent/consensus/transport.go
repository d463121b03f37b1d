package consensus

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/peer"
)

// wrapper is the Raft transport with three changes. It embeds the concrete
// transport, so that optional interfaces such as PreVote are kept.
type wrapper struct {
	*raft.NetworkTransport
	consumer chan raft.RPC
	done     chan struct{} // closed when the pump has ended
}

var (
	_ raft.Transport   = (*wrapper)(nil)
	_ raft.WithPreVote = (*wrapper)(nil)
	_ raft.WithClose   = (*wrapper)(nil)
)

// errTimeoutNow answers a TimeoutNow from the network.
var errTimeoutNow = errors.New("an election is not started from outside")

const (
	rpcTimeout = 10 * time.Second
	maxPool    = 3
)

// newWrapper starts the pump from the network's RPCs to Raft's; it ends with stop.
func newWrapper(stream raft.StreamLayer, log hclog.Logger, stop <-chan struct{}) *wrapper {
	nt := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: stream, MaxPool: maxPool, Timeout: rpcTimeout, Logger: log,
	})
	w := &wrapper{NetworkTransport: nt, consumer: make(chan raft.RPC), done: make(chan struct{})}
	go w.pump(stop)
	return w
}

// pump hands the network's RPCs on, all but TimeoutNow: only we ourselves may ask
// us to stand for election.
func (w *wrapper) pump(stop <-chan struct{}) {
	defer close(w.done)
	for {
		select {
		case rpc := <-w.NetworkTransport.Consumer():
			if _, ok := rpc.Command.(*raft.TimeoutNowRequest); ok {
				rpc.Respond(nil, errTimeoutNow)
				continue
			}
			select {
			case w.consumer <- rpc:
			case <-stop:
				rpc.Respond(nil, raft.ErrTransportShutdown)
				return
			}
		case <-stop:
			return
		}
	}
}

// Consumer implements raft.Transport.
func (w *wrapper) Consumer() <-chan raft.RPC { return w.consumer }

// SetHeartbeatHandler implements raft.Transport and does nothing: heartbeats that
// are handled beside the main loop can make nodes diverge (raft#695).
func (w *wrapper) SetHeartbeatHandler(func(raft.RPC)) {}

// stand asks our own Raft to stand for election at once.
func (w *wrapper) stand(ctx context.Context, self raft.ServerID) error {
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

// stream lets Raft listen and dial by node ID.
type stream struct {
	net.Listener
	dial func(ctx context.Context, to peer.ID) (net.Conn, error)
}

// Dial implements raft.StreamLayer.
func (s stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c, err := s.dial(ctx, peer.ID(to))
	if err != nil { // whatever it was, for Raft the peer is away
		return nil, &net.OpError{Op: "dial", Net: "raft", Err: err}
	}
	return c, nil
}

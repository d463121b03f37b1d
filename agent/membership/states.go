package membership

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"

	"github.com/ushercluster/usher/agent/peer"
)

// memberlist keeps to itself whether a node is suspected, has failed or has left:
// Members lists those that are alive or suspect and leaves Node.State at zero, and
// NotifyLeave is called for failed and left alike. Its push/pull protocol tells
// all of it, so we ask our own memberlist as another node would, over a connection
// that exists in memory only.

// pushPull is the type byte of memberlist's state exchange.
const pushPull = 6

// pushPullHeader precedes the states in memberlist's protocol.
type pushPullHeader struct {
	Nodes        int
	UserStateLen int
	Join         bool
}

// nodeState is one node in memberlist's protocol, as far as it is of use here.
type nodeState struct {
	Name  string
	Addr  []byte
	Port  uint16
	Meta  []byte
	State memberlist.NodeStateType
}

// states asks memberlist for every node that it knows.
func (f *fabric) states(ctx context.Context) ([]nodeState, error) {
	q, err := newQuestion()
	if err != nil {
		return nil, err
	}
	select {
	case f.streams <- q:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-f.ctx.Done():
		return nil, net.ErrClosed
	}
	select {
	case <-q.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-f.ctx.Done():
		return nil, net.ErrClosed
	}
	return decodeStates(q.out.Bytes())
}

// newQuestion is a push/pull request that tells nothing.
func newQuestion() (*question, error) {
	request := bytes.NewBuffer([]byte{pushPull})
	if err := codec.NewEncoder(request, new(codec.MsgpackHandle)).Encode(pushPullHeader{}); err != nil {
		return nil, fmt.Errorf("encode question: %w", err)
	}
	return &question{in: request, done: make(chan struct{})}, nil
}

// decodeStates reads the answer to a question.
func decodeStates(answer []byte) ([]nodeState, error) {
	if len(answer) == 0 || answer[0] != pushPull {
		return nil, errors.New("memberlist gave no states")
	}
	d := codec.NewDecoder(bytes.NewReader(answer[1:]), new(codec.MsgpackHandle))
	var head pushPullHeader
	if err := d.Decode(&head); err != nil {
		return nil, fmt.Errorf("decode header: %w", err)
	}
	if head.Nodes < 0 || head.Nodes > 4*maxNodes {
		return nil, fmt.Errorf("%w: %d nodes", errMalformed, head.Nodes)
	}
	states := make([]nodeState, head.Nodes)
	for i := range states {
		if err := d.Decode(&states[i]); err != nil {
			return nil, fmt.Errorf("decode node: %w", err)
		}
	}
	return states, nil
}

// sightings are the states that make sense, in the vocabulary of package peer.
func sightings(states []nodeState) []peer.Peer {
	seen := make([]peer.Peer, 0, len(states))
	for _, s := range states {
		id, boot, ok := parseName(s.Name)
		m, err := decodeMeta(s.Meta)
		if !ok || err != nil {
			continue // refused by the Alive delegate already
		}
		p := peer.Peer{ID: id, Boot: boot, Name: m.Name, Version: m.Version, Class: m.Class,
			Addr: addrOf(s.Addr, s.Port, m), Status: statusOf(s.State)}
		seen = append(seen, p)
	}
	return seen
}

// addrOf is where a node is reached: the DNS name that it told, or its address.
func addrOf(ip net.IP, port uint16, m meta) string {
	if m.Addr != "" {
		return m.Addr
	}
	return net.JoinHostPort(ip.String(), strconv.Itoa(int(port)))
}

func statusOf(s memberlist.NodeStateType) peer.Status {
	switch s {
	case memberlist.StateAlive:
		return peer.StatusAlive
	case memberlist.StateSuspect:
		return peer.StatusSuspect
	case memberlist.StateLeft:
		return peer.StatusLeft
	}
	return peer.StatusFailed
}

// question is the connection in memory: memberlist reads in, writes out and closes
// it. out may be read when done is closed.
type question struct {
	in   *bytes.Buffer
	out  bytes.Buffer
	once sync.Once
	done chan struct{}
}

func (q *question) Read(p []byte) (int, error)  { return q.in.Read(p) }
func (q *question) Write(p []byte) (int, error) { return q.out.Write(p) }

func (q *question) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

func (q *question) LocalAddr() net.Addr              { return self{} }
func (q *question) RemoteAddr() net.Addr             { return self{} }
func (q *question) SetDeadline(time.Time) error      { return nil }
func (q *question) SetReadDeadline(time.Time) error  { return nil }
func (q *question) SetWriteDeadline(time.Time) error { return nil }

var _ io.ReadWriteCloser = (*question)(nil)

// self is the address of both ends of a question.
type self struct{}

func (self) Network() string { return "memory" }
func (self) String() string  { return "self" }

package identity

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// A node that was removed while it was off is refused in every handshake, and from
// an alert it cannot tell why. The join exchange asks for no certificate, so it can
// ask there. The answer is worth what the asker's check of the server's certificate
// is worth; the question reveals nothing to whoever does not know a node's ID.

// standingRequest is the other frame that a join connection may begin with.
type standingRequest struct {
	Standing peer.ID `json:"standing"`
}

// standingReply answers it.
type standingReply struct {
	Removed bool `json:"removed"`
}

// opening is whatever a join connection begins with.
type opening struct {
	standingRequest
	JoinRequest
}

// AskStanding asks on a join connection, to a server whose certificate the caller has
// verified, whether the cluster has removed a node as far as that server knows. It
// returns when ctx ends; the caller closes conn.
func AskStanding(ctx context.Context, conn net.Conn, id peer.ID) (removed bool, err error) {
	defer closeWith(ctx, conn)()
	_ = conn.SetDeadline(time.Now().Add(joinReadTimeout))
	if err := writeFrame(conn, standingRequest{id}); err != nil {
		return false, err
	}
	var reply struct {
		standingReply
		Error *JoinError `json:"error"` // from a server that takes the question for a join
	}
	if err := readFrame(conn, &reply); err != nil {
		return false, fmt.Errorf("ask whether this node was removed: %w", err)
	}
	if reply.Error != nil {
		return false, errors.New("the server does not answer whether a node was removed")
	}
	return reply.Removed, nil
}

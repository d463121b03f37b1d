package consensus

import (
	"errors"
	"fmt"
)

// ErrNoQuorum means that no leader could be reached in time: either a majority of
// voters is away, or this node is cut off from it. A write that fails with it may
// be tried again later with the same command ID.
var ErrNoQuorum = errors.New("no quorum")

// ErrUnknown means that a command was sent and its outcome is not known: it may or
// may not have been applied. A repeat with the same command ID finds out.
var ErrUnknown = errors.New("outcome unknown")

// ErrClosed means that the store is shut down.
var ErrClosed = errors.New("store closed")

// QuorumError is ErrNoQuorum with what is known, for people.
type QuorumError struct {
	Reachable, Voters int
}

func (e *QuorumError) Error() string {
	return fmt.Sprintf("no quorum: %d of %d servers reachable", e.Reachable, e.Voters)
}

// Is makes errors.Is(err, ErrNoQuorum) hold.
func (e *QuorumError) Is(target error) bool { return target == ErrNoQuorum }

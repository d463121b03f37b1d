package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Bounds of damping.
const (
	dampFor   = time.Minute
	dampKinds = 1024 // kinds of lines that are remembered
)

// Damper lets one line of a kind pass in a minute. The zero value is ready; it is
// safe for concurrent use.
type Damper struct {
	mu    sync.Mutex
	kinds map[string]*dampened
}

type dampened struct {
	shown  time.Time
	hidden uint64
}

// See reports whether a line is shown now, and if so how many of its kind were not
// since the last one that was.
func (d *Damper) See(kind string, now time.Time) (show bool, hidden uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.kinds[kind]
	switch {
	case k == nil:
		if len(d.kinds) >= dampKinds || d.kinds == nil {
			d.kinds = map[string]*dampened{}
		}
		d.kinds[kind] = &dampened{shown: now}
		return true, 0
	case now.Sub(k.shown) < dampFor:
		k.hidden++
		return false, 0
	}
	hidden = k.hidden
	*k = dampened{shown: now}
	return true, hidden
}

// network reports whether the arguments of a line hold an error of the network: the
// other side is away, slow, or has hung up.
func network(args []any) bool {
	for _, a := range args {
		var ne net.Error
		var codec interface{ Cause() error } // raft's decoder does not unwrap its errors
		err, ok := a.(error)
		if ok && (errors.As(err, &ne) || errors.As(err, &codec) && network([]any{codec.Cause()})) {
			return true
		}
	}
	return holds(args, []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, context.DeadlineExceeded, os.ErrDeadlineExceeded})
}

// aboutPeer is the other node that a line of raft's is about, by the names that raft
// gives to it; "" when it is about none.
func aboutPeer(args []any) string {
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case "peer", "target", "server-id", "remote-address", "from", "candidate":
			return fmt.Sprint(args[i+1])
		}
	}
	return ""
}

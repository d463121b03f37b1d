package door

import (
	"context"
	"errors"
	"time"

	"github.com/ushercluster/usher/agent/door/upstream"
	"github.com/ushercluster/usher/agent/peer"
)

// refusal is why an owner does not serve a request. All but refusedLost promise
// that no engine has seen it. The values travel in X-Usher-Refused.
type refusal string

const (
	refusedNotHere   refusal = "not_here"         // no such engine beside this agent
	refusedDead      refusal = "engine_dead"      // it refuses connections
	refusedLost      refusal = "engine_lost"      // the connection ended without an answer
	refusedBusy      refusal = "engine_busy"      // it does not take connections in time
	refusedUnhealthy refusal = "engine_unhealthy" // opening only
	refusedDraining  refusal = "draining"         // opening only
	refusedFull      refusal = "full"             // opening only
	refusedEnded     refusal = "ended"            // the session was idle too long, or was closed
	refusedSeat      refusal = "no_seat"          // opening only
	refusedGone      refusal = "owner_gone"       // of a relay: the owner refused the connection, or gossip lost it
	refusedCut       refusal = "owner_unreachable"
)

// failure is how an attempt to serve a request ended without an answer.
type failure struct {
	refused refusal
	deadFor time.Duration // of the engine, with refusedDead
	sent    bool          // an engine may have seen the request
	final   *problem      // nothing else can help: tell the user this
	gone    bool          // the client has left; there is nobody to tell
	err     error         // for the log
}

// refused is the refusal of a request that no engine has seen, or of refusedLost.
func refused(r refusal) *failure { return &failure{refused: r, sent: r == refusedLost} }

// Errors of a request body, which is the client's to send.
var (
	errBodyTooLarge = errors.New("request body is larger than allowed")
	errBodyStalled  = errors.New("request body made no progress")
	errBodyForm     = errors.New("request body is not framed as it should be")
)

// diagnose turns an error of the client towards an engine into a failure. ctx ends
// when the user has gone; a dial is also cancelled when gossip gives a node up.
func diagnose(ctx context.Context, err error) *failure {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return &failure{gone: true, err: err}
	}
	var (
		notSent *upstream.NotSentError
		limit   *upstream.TimeoutError
		bad     *upstream.BadAnswerError
		body    *upstream.BodyError
	)
	switch {
	case errors.Is(err, upstream.ErrCut) && !errors.As(err, &notSent):
		return &failure{refused: refusedCut, sent: true, err: err}
	case errors.As(err, &body):
		return &failure{gone: true, sent: true, err: err}
	case errors.As(err, &notSent) && upstream.Refused(err):
		return &failure{refused: refusedDead, err: err}
	case errors.As(err, &notSent):
		return &failure{refused: refusedBusy, err: err}
	case errors.As(err, &limit):
		return &failure{final: problemTimeout, sent: true, err: err}
	case errors.As(err, &bad):
		return &failure{final: problemBadAnswer, sent: true, err: err}
	case errors.Is(err, upstream.ErrBadField):
		return &failure{final: problemHead, err: err}
	}
	return &failure{refused: refusedLost, sent: true, err: err}
}

// ofOwner reads a failure of the connection to an owner's agent, not to an engine.
func (f *failure) ofOwner() *failure {
	switch f.refused {
	case refusedDead:
		f.refused = refusedGone
	case refusedBusy:
		f.refused = refusedCut
	}
	return f
}

// action is what the entry door does next with a request that was not answered.
type action int

const (
	giveUp    action = iota // tell the user
	again                   // the same engine once more
	elsewhere               // the session moves, or opens, on another engine
	anew                    // the session is over: open another one
)

// attempt is what decide looks at.
type attempt struct {
	failure
	opening    bool // the session is not open yet: nobody's work is there
	replayable bool // the request can be sent once more
	repeated   bool // "again" was tried already
	failAfter  time.Duration
}

// decide is the policy of door.md 7: a busy engine is not dead; a session moves on
// a refused connection or a lost node only, and then at once if its owner is lost
// and after failAfter if the engine's agent is alive to bring it back.
func decide(a attempt) (action, *problem) {
	if a.final != nil {
		return giveUp, a.final
	}
	next, page := a.wish()
	if a.sent && page == problemOwner {
		page = problemLost // it may have been served
	}
	if next != giveUp && !a.replayable {
		return giveUp, page
	}
	return next, page
}

// wish is decide for a request that can be sent again, and the page for one that
// cannot.
func (a attempt) wish() (action, *problem) {
	switch a.refused {
	case refusedEnded:
		return anew, problemOwner
	case refusedSeat:
		return giveUp, problemSeat
	case refusedLost:
		if a.repeated {
			return giveUp, problemLost
		}
		return again, problemLost
	}
	if a.opening {
		return elsewhere, problemNoEngine
	}
	switch a.refused {
	case refusedDead:
		if left := a.failAfter - a.deadFor; left > 0 {
			return giveUp, problemDead(left)
		}
		return elsewhere, problemDead(0)
	case refusedNotHere, refusedGone:
		return elsewhere, problemOwner
	case refusedBusy:
		return giveUp, problemBusy
	case refusedCut:
		return giveUp, problemOwner
	case refusedUnhealthy, refusedDraining, refusedFull:
		return elsewhere, problemNoEngine // of a session that the owner does not know and has to open
	}
	return giveUp, problemInternal
}

// lostNode reports whether gossip has given a node up.
func lostNode(s peer.Status) bool { return s == peer.StatusFailed || s == peer.StatusLeft }

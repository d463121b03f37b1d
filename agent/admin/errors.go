package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/fsm"
)

func malformed(detail, next string) *Problem {
	return problem(http.StatusBadRequest, CodeInvalid, detail, next)
}

func invalid(detail, next string) *Problem {
	return problem(http.StatusUnprocessableEntity, CodeInvalid, detail, next)
}

func notFound(format string, args ...any) *Problem {
	return problem(http.StatusNotFound, CodeNotFound, fmt.Sprintf(format, args...), "")
}

func invalidParameter(name, value, next string) *Problem {
	return malformed(fmt.Sprintf("the parameter %s=%s makes no sense", name, clip(value, 64)), next)
}

// problemOf turns any error into what the caller is told. The order matters: an
// error of consensus may carry the last try's inside, which says less.
func (c *call) problemOf(err error) *Problem {
	var refused *fsm.Error
	var p *Problem
	switch {
	case errors.As(err, &refused):
		return c.refusal(refused)
	case errors.Is(err, consensus.ErrNoQuorum):
		q := problem(http.StatusServiceUnavailable, CodeNoQuorum, quorumDetail(err),
			"bring a majority of the servers back; usher status shows which are away")
		q.MaybeDone = errors.Is(err, consensus.ErrUnknown)
		return retry(q)
	case errors.Is(err, consensus.ErrUnknown):
		u := problem(http.StatusGatewayTimeout, CodeUnknownOutcome, "it was sent, and it is not known whether it was carried out",
			"read the state; with the same Idempotency-Key it can be repeated safely")
		u.MaybeDone = true
		return u
	case errors.Is(err, consensus.ErrDenied):
		if errors.As(err, &p) {
			return p
		}
		return problem(http.StatusForbidden, CodeDenied, "the central node did not accept the caller", "")
	case errors.Is(err, consensus.ErrBusy):
		return busy()
	case errors.Is(err, consensus.ErrClosed), errors.Is(err, context.Canceled):
		return closing()
	case errors.Is(err, context.DeadlineExceeded):
		return retry(problem(http.StatusGatewayTimeout, CodeTimeout, "it was not done in time", "try again"))
	case errors.Is(err, fsm.ErrNoState):
		return retry(problem(http.StatusServiceUnavailable, CodeNoQuorum, err.Error(), "wait until the node has reached the others"))
	case errors.As(err, &p):
		return p
	}
	c.s.log.Error().Err(err).Str(logs.Method, c.r.Method).Str(logs.Path, c.route.pattern).Msg("admin request failed")
	return problem(http.StatusInternalServerError, CodeInternal, "the agent failed; its log says why", "")
}

func busy() *Problem {
	return retry(problem(http.StatusServiceUnavailable, CodeBusy, "too many commands are waiting; this one was not carried out", "send it again a little later"))
}

func retry(p *Problem) *Problem {
	p.RetryAfter = 1
	return p
}

// refusal is a refusal by the state.
func (c *call) refusal(e *fsm.Error) *Problem {
	status := http.StatusConflict
	next := ""
	switch e.Code {
	case fsm.CodeInvalid:
		status = http.StatusUnprocessableEntity
	case fsm.CodeNotFound:
		status = http.StatusNotFound
	case fsm.CodeRemoved:
		status = http.StatusGone
	case fsm.CodeConflict:
		next = "read it again and decide anew"
	case fsm.CodeFeature:
		next = "upgrade usher on every server"
	}
	absent := e.Code == fsm.CodeNotFound && c.r.Method == http.MethodPut
	if c.cond.given && (e.Code == fsm.CodeConflict || absent) {
		return problem(http.StatusPreconditionFailed, CodePrecondition, e.Message, "read it again and decide anew")
	}
	return problem(status, Code(e.Code), e.Message, next)
}

// quorumDetail is the bare fact, without the tries that led to it.
func quorumDetail(err error) string {
	detail := consensus.ErrNoQuorum.Error()
	var q *consensus.QuorumError
	if errors.As(err, &q) {
		detail = q.Error()
	}
	if errors.Is(err, consensus.ErrUnknown) {
		detail += "; the command had been sent before the quorum was lost and may still be carried out"
	}
	return detail
}

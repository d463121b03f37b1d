package admin

import (
	"net/http"
	"strings"
	"time"

	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// caller is who asks, once that is known.
type caller struct {
	kind    fsm.ActorKind
	id      string // token ID, or user name on the socket
	name    string // of the token
	role    fsm.Role
	expires time.Time
	secret  string // the token's text: the leader checks it again

	peer  peer.ID // of a call from another agent
	class peer.Class
}

func (a caller) actor(via peer.ID) fsm.Actor { return fsm.Actor{Kind: a.kind, ID: a.id, Via: via} }

// stillIn checks a caller with a token against a newer state.
func (a caller) stillIn(v fsm.View, now time.Time) error {
	if a.kind != fsm.ActorToken || usableToken(v.Token(a.id), now) {
		return nil
	}
	return unauthenticated(wrongToken)
}

// authenticate finds out who asks: the user at the other end of the socket, or
// whoever the bearer token belongs to, also on loopback.
func (c *call) authenticate() (caller, error) {
	if c.from == originSocket {
		return socketCaller(c.r)
	}
	text, given := bearer(c.r.Header)
	if !given {
		c.s.stats.refused.WithLabelValues("no_token").Inc()
		return caller{}, unauthenticated("this needs an API token")
	}
	who, why := checkToken(c.s.cfg.Backend.View(), text, c.now())
	if why == "" {
		return who, nil
	}
	c.s.stats.refused.WithLabelValues("wrong_token").Inc()
	if wait := c.s.guesses.failed(c.r.RemoteAddr); wait > 0 {
		p := problem(http.StatusTooManyRequests, CodeTooMany, "too many wrong tokens came from this address", "wait, then try with a right one")
		p.RetryAfter = int(wait/time.Second) + 1
		return caller{}, p
	}
	return caller{}, unauthenticated(why)
}

// bearer reads the Authorization header (RFC 6750). Any other scheme, and more than
// one header, counts as a wrong token.
func bearer(h http.Header) (token string, given bool) {
	values := h.Values("Authorization")
	if len(values) == 0 {
		return "", false
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return "", true
	}
	return token, true
}

// What is said about a token that does not let in. Only whoever holds the right
// secret learns that it was good once.
const (
	wrongToken = "the token is not valid"
	oldToken   = "the token has expired or was revoked"
)

// checkToken looks a token up. why is "" when it is good.
func checkToken(v fsm.View, text string, now time.Time) (who caller, why string) {
	t, err := identity.ParseAPIToken(text)
	if err != nil {
		return caller{}, wrongToken
	}
	row := v.Token(t.ID())
	if row == nil || !t.MatchHash(row.Hash) {
		return caller{}, wrongToken
	}
	if !usableToken(row, now) {
		return caller{}, oldToken
	}
	return caller{
		kind: fsm.ActorToken, id: row.ID, name: row.Name, role: row.Role, expires: row.Expires.Time(), secret: text,
	}, ""
}

func usableToken(row *fsm.Token, now time.Time) bool {
	return row != nil && row.Revoked == 0 && (row.Expires == 0 || fsm.StampOf(now) < row.Expires)
}

func unauthenticated(detail string) *Problem {
	return problem(http.StatusUnauthorized, CodeUnauthenticated, detail,
		"give a token in USHER_TOKEN or with --token-file; make one on a node with: usher token create")
}

// socketUser is what ConnContext found out about a connection of the socket.
type socketUser struct {
	name string
	err  error
}

type socketKey struct{}

func socketCaller(r *http.Request) (caller, error) {
	u, ok := r.Context().Value(socketKey{}).(socketUser)
	if !ok || u.err != nil || u.name == "" {
		return caller{}, problem(http.StatusForbidden, CodeDenied, "the socket is for root and the agent's own user",
			"run this as one of them, or use --address http://... with a token")
	}
	return caller{kind: fsm.ActorLocal, id: u.name, role: fsm.RoleAdmin}, nil
}

// healthRoute is the one route that needs no credentials.
func healthRoute() route {
	r := readRoute("/v1/health", "", "For load balancers: 200, or 503 without quorum or state", health)
	r.open = true
	return r
}

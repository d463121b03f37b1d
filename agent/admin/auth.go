package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"sync"
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
	v := c.s.cfg.Backend.View()
	who, why := c.s.proven.check(v, text, c.now())
	if why == "" {
		if !v.Cached() {
			c.asOf = v.Revision()
		}
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

// proof is what a token's text comes down to: whom it names, and what the state has to
// hold of it.
type proof struct {
	id   string
	hash [32]byte
}

func (p proof) check(v fsm.View, text string, now time.Time) (who caller, why string) {
	row := v.Token(p.id)
	if row == nil || subtle.ConstantTimeCompare(p.hash[:], row.Hash) != 1 {
		return caller{}, wrongToken
	}
	if !usableToken(row, now) {
		return caller{}, oldToken
	}
	return caller{
		kind: fsm.ActorToken, id: row.ID, name: row.Name, role: row.Role, expires: row.Expires.Time(), secret: text,
	}, ""
}

// maxProven bounds the proofs that are kept.
const maxProven = 1024

// proven keeps the proofs of texts that were good once, which spares reading the text
// again with every request. Whether a token is good still, the state says each time.
// Texts are kept as their hash. Its zero value is ready.
type proven struct {
	mu     sync.RWMutex
	proofs map[[sha256.Size]byte]proof
}

// check looks a token up. why is "" when it is good.
func (k *proven) check(v fsm.View, text string, now time.Time) (who caller, why string) {
	sum := sha256.Sum256([]byte(text))
	k.mu.RLock()
	p, ok := k.proofs[sum]
	k.mu.RUnlock()
	if ok {
		return p.check(v, text, now)
	}
	t, err := identity.ParseAPIToken(text)
	if err != nil {
		return caller{}, wrongToken
	}
	p = proof{t.ID(), t.Hash()}
	if who, why = p.check(v, text, now); why == "" {
		k.keep(sum, p)
	}
	return who, why
}

func (k *proven) keep(sum [sha256.Size]byte, p proof) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.proofs == nil || len(k.proofs) >= maxProven {
		k.proofs = map[[sha256.Size]byte]proof{}
	}
	k.proofs[sum] = p
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

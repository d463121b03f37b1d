package admin

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"time"

	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

const (
	defaultUses    = 10 // of a token that replaces a node: 1
	defaultJoinTTL = 24 * time.Hour
	maxJoinTTL     = 365 * 24 * time.Hour
	maxTokenTTL    = 10 * 365 * 24 * time.Hour
	maxContacts    = 16
)

func listTokens(c *call) (List[Token], error) {
	w, err := c.window()
	if err != nil {
		return List[Token]{}, err
	}
	v, err := c.read()
	if err != nil {
		return List[Token]{}, err
	}
	return listOf(w, v.Tokens(), func(t *fsm.Token) string { return t.ID }, func(t *fsm.Token) Token { return tokenOf(t, c.now()) }), nil
}

func createToken(c *call, in TokenSpec) (NewToken, error) {
	tok, err := identity.NewAPIToken(c.s.cfg.Rand)
	if err != nil {
		return NewToken{}, err
	}
	if in.TTL < 0 {
		return NewToken{}, invalid("ttl lies in the past", "leave it out for a token that never expires")
	}
	if in.TTL > Duration(maxTokenTTL) {
		return NewToken{}, invalid("ttl is longer than ten years", "leave it out for a token that never expires")
	}
	hash := tok.Hash()
	cmd := &fsm.CreateToken{ID: tok.ID(), Name: in.Name, Hash: hash[:], Role: fsm.Role(in.Role)}
	if in.TTL > 0 {
		cmd.Expires = fsm.StampOf(c.now().Add(in.TTL.D()))
	}
	res, err := c.propose(cmd)
	if err != nil {
		return NewToken{}, err
	}
	row := c.view.Token(tok.ID())
	if row == nil {
		return NewToken{}, shownOnce(res)
	}
	return NewToken{Token: tokenOf(row, c.now()), Secret: tok.Reveal()}, nil
}

// shownOnce answers the repeat of a request that made a token: the one of the first
// time counts, and its secret is not kept anywhere.
func shownOnce(r fsm.Result) *Problem {
	return problem(http.StatusConflict, CodeConflict,
		fmt.Sprintf("the same Idempotency-Key made a token at revision %d already, and its secret was shown then", r.Revision),
		"if the secret is lost, revoke that token and make another under a new key")
}

func revokeToken(c *call, _ Nothing) (Token, error) {
	id := c.r.PathValue("id")
	if _, err := c.propose(&fsm.RevokeToken{ID: id}); err != nil {
		return Token{}, err
	}
	row := c.view.Token(id)
	if row == nil { // an Idempotency-Key was used before, for another token
		return Token{}, notFound("there is no token %s", clip(id, 32))
	}
	return tokenOf(row, c.now()), nil
}

func listJoinTokens(c *call) (List[JoinToken], error) {
	w, err := c.window()
	if err != nil {
		return List[JoinToken]{}, err
	}
	v, err := c.read()
	if err != nil {
		return List[JoinToken]{}, err
	}
	return listOf(w, v.JoinTokens(), func(t *fsm.JoinToken) string { return t.ID }, func(t *fsm.JoinToken) JoinToken { return joinTokenOf(t, c.now()) }), nil
}

func createJoinToken(c *call, in JoinTokenSpec) (NewJoinToken, error) {
	cluster := c.s.cfg.Backend.View().Cluster()
	if cluster == nil || len(cluster.Roots) == 0 {
		return NewJoinToken{}, fsm.ErrNoState
	}
	tok, err := identity.NewJoinToken(c.s.cfg.Rand, sha256.Sum256(cluster.Roots[0]))
	if err != nil {
		return NewJoinToken{}, err
	}
	if in.Uses == 0 {
		in.Uses = defaultUses
		if in.Replace != "" {
			in.Uses = 1
		}
	}
	if in.TTL == 0 {
		in.TTL = Duration(defaultJoinTTL)
	}
	if in.TTL > Duration(maxJoinTTL) {
		return NewJoinToken{}, invalid("ttl is longer than a year", "a join token lets machines in: give it the hours that it is needed for")
	}
	hash := tok.Hash()
	res, err := c.propose(&fsm.CreateJoinToken{
		ID: tok.ID(), Hash: hash[:], Uses: in.Uses, Expires: fsm.StampOf(c.now().Add(in.TTL.D())), Replace: in.Replace,
	})
	if err != nil {
		return NewJoinToken{}, err
	}
	row := c.view.JoinToken(tok.ID())
	if row == nil {
		return NewJoinToken{}, shownOnce(res)
	}
	return NewJoinToken{JoinToken: joinTokenOf(row, c.now()), Token: tok.Reveal(), Contacts: contactsOf(c.snapshot(c.view))}, nil
}

// contactsOf are the servers that a machine can join through, ours first.
func contactsOf(s snapshot) []string {
	out := []string{}
	if n := s.view.Node(s.self); n != nil && n.Addr != "" {
		out = append(out, n.Addr)
	}
	for _, n := range nodesOf(s) {
		if n.ID != s.self && n.Class == peer.ClassServer && n.Status == peer.StatusAlive && n.ClusterAddr != "" && len(out) < maxContacts {
			out = append(out, n.ClusterAddr)
		}
	}
	return out
}

func revokeJoinToken(c *call, _ Nothing) (JoinToken, error) {
	id := c.r.PathValue("id")
	if _, err := c.propose(&fsm.RevokeJoinToken{ID: id}); err != nil {
		return JoinToken{}, err
	}
	row := c.view.JoinToken(id)
	if row == nil { // as above
		return JoinToken{}, notFound("there is no join token %s", clip(id, 32))
	}
	return joinTokenOf(row, c.now()), nil
}

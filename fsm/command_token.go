package fsm

import "fmt"

// CreateJoinToken makes a join token of which only the hash is stored.
type CreateJoinToken struct {
	ID      string
	Hash    []byte
	Uses    int
	Expires Stamp
	Replace string
}

func (*CreateJoinToken) kind() Kind { return KindCreateJoinToken }
func (c *CreateJoinToken) about() (string, string) {
	d := fmt.Sprintf("uses %d, expires %s", c.Uses, c.Expires.Time().Format("2006-01-02T15:04:05Z07:00"))
	if c.Replace != "" {
		d += ", replaces " + c.Replace
	}
	return c.ID, d
}

func (c *CreateJoinToken) apply(t *tx) *Error {
	if err := checkToken(c.ID, c.Hash); err != nil {
		return err
	}
	if c.Uses < 1 || c.Uses > MaxNodes {
		return refuse(CodeInvalid, "uses %d: use 1 to %d", c.Uses, MaxNodes)
	}
	if c.Expires <= t.now {
		return refuse(CodeInvalid, "the join token would have expired already")
	}
	if get[*JoinToken](t.txn, tableJoinTokens, c.ID) != nil {
		return refuse(CodeExists, "join token %s exists", c.ID)
	}
	if c.Replace != "" {
		if c.Uses != 1 {
			return refuse(CodeInvalid, "a join token that replaces a node has exactly one use")
		}
		if t.nodeByName(c.Replace) == nil {
			return refuse(CodeNotFound, "there is no node named %q to replace", clip(c.Replace, 64))
		}
	}
	if count(t.txn, tableJoinTokens) >= MaxTokens {
		return refuse(CodeLimit, "there are %d join tokens, the limit: revoke some", MaxTokens)
	}
	t.put(tableJoinTokens, &JoinToken{
		Meta: t.fresh(), ID: c.ID, Hash: c.Hash, Uses: c.Uses, Expires: c.Expires,
		Replace: c.Replace, By: t.actor.String(), Born: t.now,
	})
	return nil
}

// RevokeJoinToken ends a join token; nodes that came in on it stay.
type RevokeJoinToken struct{ ID string }

func (*RevokeJoinToken) kind() Kind                { return KindRevokeJoinToken }
func (c *RevokeJoinToken) about() (string, string) { return c.ID, "" }

func (c *RevokeJoinToken) apply(t *tx) *Error {
	old := get[*JoinToken](t.txn, tableJoinTokens, c.ID)
	if old == nil {
		return refuse(CodeNotFound, "there is no join token %s", clip(c.ID, 32))
	}
	if old.Revoked != 0 {
		return nil
	}
	row := *old
	row.Modified, row.Revoked = t.rev, t.now
	t.put(tableJoinTokens, &row)
	return nil
}

func (t *tx) useJoinToken(old *JoinToken, keyHash []byte) {
	row := *old
	row.Modified = t.rev
	row.UsedBy = append(append([][]byte(nil), old.UsedBy...), keyHash)
	t.put(tableJoinTokens, &row)
}

func usedBy(tok *JoinToken, keyHash []byte) bool {
	for _, h := range tok.UsedBy {
		if string(h) == string(keyHash) {
			return true
		}
	}
	return false
}

// CreateToken makes an API token of which only the hash is stored.
type CreateToken struct {
	ID      string
	Name    string
	Hash    []byte
	Role    Role
	Expires Stamp // zero: never
}

func (*CreateToken) kind() Kind { return KindCreateToken }
func (c *CreateToken) about() (string, string) {
	return c.ID, fmt.Sprintf("name %s, role %s", c.Name, c.Role)
}

func (c *CreateToken) apply(t *tx) *Error {
	if err := checkToken(c.ID, c.Hash); err != nil {
		return err
	}
	if err := checkName("token name", c.Name); err != nil {
		return err
	}
	if !c.Role.Includes(RoleViewer) {
		return refuse(CodeInvalid, "role %q: use viewer, operator or admin", clip(string(c.Role), 32))
	}
	if c.Expires != 0 && c.Expires <= t.now {
		return refuse(CodeInvalid, "the token would have expired already")
	}
	if get[*Token](t.txn, tableTokens, c.ID) != nil {
		return refuse(CodeExists, "token %s exists", c.ID)
	}
	if count(t.txn, tableTokens) >= MaxTokens {
		return refuse(CodeLimit, "there are %d tokens, the limit: revoke some", MaxTokens)
	}
	t.put(tableTokens, &Token{
		Meta: t.fresh(), ID: c.ID, Name: c.Name, Hash: c.Hash, Role: c.Role,
		Expires: c.Expires, By: t.actor.String(), Born: t.now,
	})
	return nil
}

// RevokeToken ends an API token at once.
type RevokeToken struct{ ID string }

func (*RevokeToken) kind() Kind                { return KindRevokeToken }
func (c *RevokeToken) about() (string, string) { return c.ID, "" }

func (c *RevokeToken) apply(t *tx) *Error {
	old := get[*Token](t.txn, tableTokens, c.ID)
	if old == nil {
		return refuse(CodeNotFound, "there is no token %s", clip(c.ID, 32))
	}
	if old.Revoked != 0 {
		return nil
	}
	row := *old
	row.Modified, row.Revoked = t.rev, t.now
	t.put(tableTokens, &row)
	return nil
}

func checkToken(id string, hash []byte) *Error {
	if len(id) < 4 || len(id) > 32 || len(hash) != 32 {
		return refuse(CodeInvalid, "the token's ID or hash is malformed")
	}
	return nil
}

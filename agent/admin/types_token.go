package admin

import "time"

// States of tokens and join tokens.
const (
	TokenValid   = "valid"
	TokenExpired = "expired"
	TokenUsedUp  = "used_up"
	TokenRevoked = "revoked"
)

// JoinToken lets machines join. Its secret is shown once, by NewJoinToken.
type JoinToken struct {
	Meta
	Row
	ID      string    `json:"id"`
	State   string    `json:"state"`
	Uses    int       `json:"uses"`
	Used    int       `json:"used"`
	Expires time.Time `json:"expires,omitzero"`
	Revoked time.Time `json:"revoked,omitzero"`
	Replace string    `json:"replace,omitempty"` // the node whose place the joiner takes
	By      string    `json:"by"`
	Born    time.Time `json:"born"`
}

// JoinTokenSpec is the body of POST /v1/join-tokens.
type JoinTokenSpec struct {
	Uses    int      `json:"uses,omitempty"` // default 10, for replace 1
	TTL     Duration `json:"ttl,omitzero"`   // default 24h, at most a year
	Replace string   `json:"replace,omitempty"`
}

// NewJoinToken is the answer to POST /v1/join-tokens: the only time that the
// secret is shown.
type NewJoinToken struct {
	JoinToken
	Token    string   `json:"token"`    // what the joining machine needs
	Contacts []string `json:"contacts"` // cluster addresses of servers to join through
}

// Token is an API token. Its secret is shown once, by NewToken.
type Token struct {
	Meta
	Row
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Role    string    `json:"role"`
	State   string    `json:"state"`
	Expires time.Time `json:"expires,omitzero"` // absent: never
	Revoked time.Time `json:"revoked,omitzero"`
	By      string    `json:"by"`
	Born    time.Time `json:"born"`
}

// TokenSpec is the body of POST /v1/tokens.
type TokenSpec struct {
	Name string   `json:"name"`
	Role string   `json:"role"`         // viewer, operator or admin
	TTL  Duration `json:"ttl,omitzero"` // absent: never expires
}

// NewToken is the answer to POST /v1/tokens: the only time that the secret is shown.
type NewToken struct {
	Token
	Secret string `json:"token"`
}

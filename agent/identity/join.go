package identity

import (
	"fmt"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// JoinVersion is the version of the join exchange that this package speaks.
// Unknown JSON fields are ignored, so that fields can be added without another.
const JoinVersion = 1

// JoinRequest is what a machine asks with. ServeJoins has checked its form before
// anybody else sees it; that the secret is right, nobody has.
type JoinRequest struct {
	Version      int        `json:"version"`
	TokenID      string     `json:"token_id"`
	Secret       []byte     `json:"secret"`
	NodeID       peer.ID    `json:"node_id"`
	Name         string     `json:"name"`
	Class        peer.Class `json:"class"`
	CSR          []byte     `json:"csr"`      // PKCS #10, DER; its signature holds
	SealKey      []byte     `json:"seal_key"` // public half
	Advertise    string     `json:"advertise"`
	Door         string     `json:"door"` // "" when the node has none
	Boot         uint64     `json:"boot"`
	Nonce        []byte     `json:"nonce"`
	Time         time.Time  `json:"time"` // the joiner's clock
	FeatureLevel uint32     `json:"feature_level"`
	UsherVersion string     `json:"usher_version"`
}

// MatchHash reports in constant time whether hash is that of the token (see
// JoinToken.Hash) whose secret the request carries.
func (r JoinRequest) MatchHash(hash []byte) bool { return matchSecret(joinPrefix, r.Secret, hash) }

// KeyHash is the SHA-256 of the public key in the CSR (SubjectPublicKeyInfo): what a
// token's uses are counted by.
func (r JoinRequest) KeyHash() ([32]byte, error) {
	pub, err := csrKey(r.CSR)
	if err != nil {
		return [32]byte{}, err
	}
	return keyHash(pub)
}

// Format implements fmt.Formatter without the secret. Encoding a request as JSON does
// show it: that is the wire.
func (r JoinRequest) Format(f fmt.State, _ rune) {
	redact(f, fmt.Sprintf("JoinRequest of node %q (%q) on token %q", r.NodeID, r.Name, r.TokenID))
}

// JoinAnswer is what a machine gets that was let in.
type JoinAnswer struct {
	ClusterID   string   `json:"cluster_id"`
	ClusterName string   `json:"cluster_name"` // today's
	Chain       [][]byte `json:"chain"`        // DER: leaf, CA
	Roots       [][]byte `json:"roots"`        // DER: CAs to trust
	NodeName    string   `json:"node_name"`
	Contacts    []string `json:"contacts"`           // host:port of servers; at most maxContacts are sent
	Warnings    []string `json:"warnings,omitempty"` // for people
}

// JoinCode says why a join was refused.
type JoinCode string

// The codes of a JoinError.
const (
	JoinWrongCluster JoinCode = "wrong_cluster"
	JoinBadToken     JoinCode = "bad_token"
	JoinExpired      JoinCode = "expired"
	JoinUsedUp       JoinCode = "used_up"
	JoinRevoked      JoinCode = "revoked"
	JoinNameTaken    JoinCode = "name_taken"
	JoinClockSkew    JoinCode = "clock_skew"
	JoinNoQuorum     JoinCode = "no_quorum"
	JoinUpgrade      JoinCode = "upgrade"
	JoinBadRequest   JoinCode = "bad_request"
	JoinRemoved      JoinCode = "removed"
	JoinInternal     JoinCode = "internal"
)

// JoinError is a refusal by the cluster.
type JoinError struct {
	Code    JoinCode `json:"code"`
	Message string   `json:"message"`        // what is wrong
	Next    string   `json:"next,omitempty"` // what the operator can do
}

// Error is the message, then what to do.
func (e *JoinError) Error() string {
	if e.Next == "" {
		return e.Message
	}
	return e.Message + ": " + e.Next
}

// Passing reports whether the same request may be granted later. A code that is
// unknown here is not passing: a person shall read it.
func (e *JoinError) Passing() bool { return e.Code == JoinNoQuorum || e.Code == JoinInternal }

// joinReply is the answer frame: exactly one of the two.
type joinReply struct {
	Answer *JoinAnswer `json:"answer,omitempty"`
	Error  *JoinError  `json:"error,omitempty"`
}

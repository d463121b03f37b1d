package identity

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/ushercluster/usher/agent/peer"
)

const (
	maxNonceBytes   = 64
	maxVersionBytes = 64
	maxAddrBytes    = 255
	sealKeyLen      = 32
)

// check looks at the form of a request: nothing that fits no node gets any further.
func (r JoinRequest) check() *JoinError {
	if r.Version != JoinVersion {
		return &JoinError{
			Code:    JoinUpgrade,
			Message: fmt.Sprintf("the joiner speaks version %d of the join exchange, this server version %d", r.Version, JoinVersion),
			Next:    "run the same version of usher on both",
		}
	}
	if !validTokenID(r.TokenID) || len(r.Secret) != joinSecretLen {
		return &JoinError{
			Code:    JoinBadToken,
			Message: "the request carries no well-formed join token",
			Next:    "make a new one with: usher join-token create",
		}
	}
	if err := r.checkNode(); err != nil {
		return badRequest(err)
	}
	if err := r.checkFacts(); err != nil {
		return badRequest(err)
	}
	if _, err := csrKey(r.CSR); err != nil {
		return badRequest(err)
	}
	return nil
}

func badRequest(err error) *JoinError {
	return &JoinError{Code: JoinBadRequest, Message: "the join request is malformed: " + err.Error()}
}

// checkNode looks at who the joiner wants to be.
func (r JoinRequest) checkNode() error {
	switch {
	case !r.NodeID.Valid():
		return fmt.Errorf("node id %.40q is not one", r.NodeID)
	case !peer.ValidName(r.Name):
		return fmt.Errorf("node name %.80q: use 1 to 63 characters of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit", r.Name)
	case r.Class != peer.ClassServer && r.Class != peer.ClassEdge:
		return fmt.Errorf("node class %.40q is unknown", r.Class)
	}
	if err := checkAddr(r.Advertise); err != nil {
		return fmt.Errorf("advertised address %.80q: %w", r.Advertise, err)
	}
	if r.Door == "" {
		return nil
	}
	if err := checkAddr(r.Door); err != nil {
		return fmt.Errorf("door address %.80q: %w", r.Door, err)
	}
	return nil
}

// checkFacts looks at the rest.
func (r JoinRequest) checkFacts() error {
	switch {
	case len(r.SealKey) != sealKeyLen:
		return fmt.Errorf("seal key of %d bytes: it has %d", len(r.SealKey), sealKeyLen)
	case len(r.Nonce) > maxNonceBytes:
		return fmt.Errorf("nonce of %d bytes: at most %d", len(r.Nonce), maxNonceBytes)
	case r.Time.IsZero():
		return fmt.Errorf("it does not say what the joiner's clock shows")
	case !printable(r.UsherVersion, maxVersionBytes):
		return fmt.Errorf("usher version %.80q: at most %d printable characters", r.UsherVersion, maxVersionBytes)
	}
	return nil
}

// checkAddr accepts host:port that others can dial: a name or an address, but no
// "any" address such as 0.0.0.0, which means something else on each machine.
func checkAddr(addr string) error {
	if len(addr) > maxAddrBytes || !printable(addr, maxAddrBytes) {
		return fmt.Errorf("at most %d printable characters", maxAddrBytes)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("use host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %q: use 1 to 65535", port)
	}
	if host == "" {
		return fmt.Errorf("the host is missing: use host:port")
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return checkHost(host)
	}
	if ip.IsUnspecified() || ip.IsMulticast() {
		return fmt.Errorf("nobody can dial %s: advertise the address that the other nodes reach this one by", ip)
	}
	return nil
}

// checkHost accepts DNS names in the wide sense that resolvers do.
func checkHost(host string) error {
	for _, c := range []byte(host) {
		ok := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_'
		if !ok {
			return fmt.Errorf("host %q is neither a name nor an address", host)
		}
	}
	return nil
}

func printable(s string, limit int) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return len(s) <= limit
}

package transport

// Proto is an ALPN protocol name (RFC 7301) of the cluster port. A client offers
// exactly one, and the port hands the connection to whoever listens for it.
type Proto string

// The protocols of the cluster port.
const (
	ProtoGossip       Proto = "usher/gossip/1"        // memberlist packets as length-prefixed frames
	ProtoGossipStream Proto = "usher/gossip-stream/1" // memberlist push/pull streams
	ProtoRaft         Proto = "usher/raft/1"
	ProtoPulse        Proto = "usher/pulse/1" // reserved for servers' heartbeats
	ProtoAPI          Proto = "usher/api/1"   // HTTP/1.1: forwarded calls
	ProtoSession      Proto = "usher/session/1"
	ProtoJoin         Proto = "usher/join/1" // the only one without a client certificate
)

// Protos lists every protocol that a port may carry.
func Protos() []Proto {
	return []Proto{ProtoGossip, ProtoGossipStream, ProtoRaft, ProtoPulse, ProtoAPI, ProtoSession, ProtoJoin}
}

package door

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/ushercluster/usher/agent/placement"
)

// Scope says what a session is bound by.
type Scope string

// The scopes.
const (
	ScopeBrowser  Scope = "browser"  // one engine for all that a browser opens
	ScopeDocument Scope = "document" // one engine for each document
)

// Access says which requests have a line in the access log.
type Access string

// The kinds of access logs.
const (
	AccessOff     Access = "off"
	AccessErrors  Access = "errors"  // those that were answered with 400 or more, or not at all
	AccessSampled Access = "sampled" // errors, and some of the others
	AccessAll     Access = "all"
)

// Settings are the cluster's wishes for its doors. A Settings is immutable once a
// request may have seen it.
type Settings struct {
	Session SessionSettings
	Place   PlaceSettings
	Traffic TrafficSettings

	// HSTS tells browsers for how long to come by TLS only (RFC 6797); 0 says nothing.
	HSTS          time.Duration
	ShowNode      bool          // name the node whose engine answered, in X-Usher-Node
	AccessLog     Access        // which requests have a line in the access log
	AccessSample  int           // of so many requests one, with AccessSampled; at least 1
	ShutdownDelay time.Duration // from the status page saying 503 to the listener closing
	// TrustedNetworks may speak for users: their X-Forwarded-* are believed, and they may
	// send headers of the PROXY protocol where Config.ProxyProtocol asks for them.
	TrustedNetworks []netip.Prefix
}

// SessionSettings say how long sessions last and how they are recognised.
type SessionSettings struct {
	Scope       Scope
	IdleTimeout time.Duration
	MaxLife     time.Duration
	SameSite    http.SameSite
	// ClientKeyHeader names a request field that stands for the session of clients
	// without cookies; "" for none.
	ClientKeyHeader string
	Documents       []Pattern // where a request names its document; the first that matches counts
}

// PlaceSettings say how new sessions find their engine.
type PlaceSettings struct {
	Strategy             placement.Strategy
	AskTimeout           time.Duration // how long the two engines that are asked may take
	FailAfter            time.Duration // sessions of a dead engine move after this long
	NodeFailAfter        time.Duration // and those of a node that answers no agent
	MaxSessionsPerEngine int           // 0 for no limit
}

// TrafficSettings bound what passes through.
type TrafficSettings struct {
	HeadTimeout  time.Duration // from the request to the head of the answer
	BodyIdle     time.Duration // without progress of a body
	MaxBodyBytes int64         // of a request; 0 for no limit
	// MaxConnections and MaxConnectionsPerAddress bound the connections of users, at this
	// door; 0 for no limit but that of descriptors.
	MaxConnections           int
	MaxConnectionsPerAddress int
	WebSocketPing            time.Duration
	WebSocketIdle            time.Duration // without a message of the user; 0 for no limit
}

// DefaultSettings are the settings of a cluster that nobody has configured.
func DefaultSettings() *Settings {
	return &Settings{
		Session: SessionSettings{
			Scope: ScopeBrowser, IdleTimeout: 30 * time.Minute, MaxLife: 24 * time.Hour, SameSite: http.SameSiteLaxMode,
			Documents: []Pattern{{kind: inPath, segments: []string{"doc", ""}, at: 1}},
		},
		Place: PlaceSettings{
			Strategy: placement.LeastLoaded, AskTimeout: 50 * time.Millisecond, FailAfter: 5 * time.Second,
			NodeFailAfter: 1200 * time.Millisecond,
		},
		Traffic: TrafficSettings{
			HeadTimeout: 5 * time.Minute, BodyIdle: 30 * time.Second, WebSocketPing: 30 * time.Second,
		},
		AccessLog: AccessOff, AccessSample: 100,
	}
}

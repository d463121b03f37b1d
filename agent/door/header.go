package door

import (
	"net/http"
	"strings"

	"github.com/ushercluster/usher/agent/door/upstream"
)

// Fields of our own. Those of the first group engines and users may see; those of
// the second are between agents.
const (
	fieldError     = "X-Usher-Error"
	fieldNode      = "X-Usher-Node"
	fieldDoor      = "X-Usher-Door"       // name of the node where the user arrived
	fieldSession   = "X-Usher-Session"    // to engines the short form, between agents the whole
	fieldMovedFrom = "X-Usher-Moved-From" // name of the node that was lost

	fieldEngine   = "X-Usher-Engine"   // which engine of the owner
	fieldOpen     = "X-Usher-Open"     // the session opens: "new", "move" or "key"
	fieldDecided  = "X-Usher-Decided"  // when the door chose the engine, by its own clock: a stamp
	fieldAge      = "X-Usher-Age"      // of the session, in seconds
	fieldDocument = "X-Usher-Document" // its key, query-escaped
	fieldClient   = "X-Usher-Client"   // the user's address
	fieldVia      = "X-Usher-Via"      // relay this to that node, once
	fieldRefused  = "X-Usher-Refused"  // the owner's refusal
	fieldDeadFor  = "X-Usher-Dead-For" // milliseconds since the engine died
)

const usherPrefix = "X-Usher-"

// forwardHeader is the header that the engine gets: what the user sent, without
// what speaks of one connection, without what only proxies and agents may say, and
// with our own word on who is asking. The request's header is not changed.
func forwardHeader(r *http.Request, c client, cookies []string) http.Header {
	h := make(http.Header, len(r.Header)+6)
	for name, values := range r.Header {
		if name != "Cookie" && mayPass(name, c.trusted) {
			h[name] = values
		}
	}
	upstream.CleanHeader(h)
	if !r.ProtoAtLeast(1, 1) {
		delete(h, "Expect") // it knows no interim answers (RFC 9110 10.1.1)
	}
	if len(cookies) > 0 {
		h["Cookie"] = cookies
	}
	setForwarded(h, c)
	return h
}

// mayPass reports whether a field of that canonical name may come from the client.
// Underscores are refused because CGI-like engines read X_Real_IP as X-Real-IP.
func mayPass(name string, trusted bool) bool {
	switch {
	case hasFoldPrefix(name, usherPrefix):
		return false
	case trusted:
		return true
	}
	return !strings.Contains(name, "_") && !hasFoldPrefix(name, "X-Forwarded-") &&
		!strings.EqualFold(name, "Forwarded") && !strings.EqualFold(name, "X-Real-Ip")
}

func hasFoldPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func setForwarded(h http.Header, c client) {
	forwarded := c.peer.String()
	if c.trusted && len(h["X-Forwarded-For"]) > 0 {
		forwarded = strings.Join(h["X-Forwarded-For"], ", ") + ", " + forwarded
	}
	proto := "http"
	if c.secure {
		proto = "https"
	}
	h["X-Forwarded-For"] = []string{forwarded}
	h["X-Forwarded-Proto"] = []string{proto}
	h["X-Forwarded-Host"] = []string{c.host}
	h["X-Real-Ip"] = []string{c.addr.String()}
}

// dropUsher removes all fields of ours: from an engine's answer, so that it cannot
// speak as an agent, and from an agent's before it goes to a user.
func dropUsher(h http.Header) {
	for name := range h {
		if hasFoldPrefix(name, usherPrefix) {
			delete(h, name)
		}
	}
}

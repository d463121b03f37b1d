package door

import (
	"errors"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/ushercluster/usher/agent/door/upstream"
)

// Limits of a request's head.
const (
	maxHeadBytes  = 32 << 10
	maxHeadFields = 100
	maxTargetLen  = 8 << 10
)

// Paths of our own. What is below wellKnown is between agents and engines and never
// comes from a user.
const (
	wellKnown   = "/.well-known/usher"
	statusPath  = "/usher/status"
	statusAlias = "/QvAjaxZfc/QvsStatus.aspx"
	foldedAlias = "/qvajaxzfc/qvsstatus.aspx"
	leavePath   = "/usher/leave"
)

// checkHead refuses what net/http lets through and engines may read differently.
// It returns nil for a request that may go on.
func checkHead(r *http.Request, private []string) *problem {
	switch r.Method {
	case http.MethodConnect, http.MethodTrace:
		return problemMethod
	}
	switch {
	case len(r.RequestURI) > maxTargetLen:
		return problemTarget
	case !strings.HasPrefix(r.RequestURI, "/"):
		// net/http has thrown the Host field of an absolute-form request away, so
		// that the two can no longer be compared (RFC 9112 3.2.2).
		return problemForm
	case r.Host == "" && r.ProtoAtLeast(1, 1):
		return problemHead
	case r.ProtoMajor != 1 && r.ProtoMajor != 2:
		return problemHead
	}
	fields := 0
	for _, values := range r.Header {
		fields += len(values)
	}
	if fields > maxHeadFields {
		return problemFields
	}
	if isPrivate(r.URL.Path, private) {
		return problemNotFound
	}
	return nil
}

// isPrivate reports whether an engine might take the path for one below
// /.well-known/usher/ or below another private prefix. Engines differ in what they
// decode and fold, so all readings count: dot segments, doubled and backward
// slashes, path parameters, letter case, and a second percent-decoding.
func isPrivate(p string, private []string) bool {
	for range 2 {
		folded := foldPath(p)
		if below(folded, wellKnown) {
			return true
		}
		for _, prefix := range private {
			if below(folded, strings.ToLower(strings.TrimSuffix(prefix, "/"))) {
				return true
			}
		}
		dec, err := url.PathUnescape(p)
		if err != nil || dec == p {
			return false
		}
		p = dec
	}
	return false
}

func below(p, prefix string) bool {
	rest, ok := strings.CutPrefix(p, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

func foldPath(p string) string {
	p = strings.ReplaceAll(p, `\`, "/")
	if strings.Contains(p, ";") {
		segments := strings.Split(p, "/")
		for i, s := range segments {
			segments[i], _, _ = strings.Cut(s, ";")
		}
		p = strings.Join(segments, "/")
	}
	return strings.ToLower(path.Clean("/" + p))
}

// wantsWebSocket reports whether the request asks to become a WebSocket. Any other
// Upgrade is ignored, as RFC 9110 7.8 allows: Java and curl offer h2c at first. In
// HTTP/1.0 it demands so of every one.
func wantsWebSocket(r *http.Request) bool {
	return r.ProtoAtLeast(1, 1) && hasToken(r.Header["Upgrade"], "websocket") && hasToken(r.Header["Connection"], "upgrade")
}

func checkWebSocket(r *http.Request) *problem {
	err := upstream.ValidHandshake(r.Method, r.Header)
	switch {
	case errors.Is(err, upstream.ErrHandshakeVersion):
		return problemVersion
	case err != nil, r.ContentLength != 0:
		return problemHandshake
	}
	return nil
}

func hasToken(lists []string, token string) bool {
	for _, list := range lists {
		for e := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.Trim(e, " \t"), token) {
				return true
			}
		}
	}
	return false
}

func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

package door

import (
	"context"
	_ "embed"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

//go:embed leave.html
var leaveHTML []byte

// leave ends the user's sessions at their owners, takes the cookies back and sends
// the browser to the start. Other sites must not do that to a user, so the request
// has to show that it comes from here; a GET that does not is asked once more.
func (x *exchange) leave() {
	switch x.r.Method {
	case http.MethodPost:
		if !sameOrigin(x.r, x.client.host, true) {
			x.refuse(problemForeign)
			return
		}
	case http.MethodGet:
		if !sameOrigin(x.r, x.client.host, false) {
			x.reply.send(http.StatusOK, "text/html; charset=utf-8", leaveHTML)
			return
		}
	default:
		x.refuse(problemMethod)
		return
	}
	byNode := map[peer.ID][]SessionID{}
	for _, t := range x.jar.tokens() {
		byNode[t.engine.Node()] = append(byNode[t.engine.Node()], t.session)
	}
	x.end(x.r.Context(), byNode)
	h := x.reply.w.Header()
	x.jar.clearAll(h)
	if x.set.Session.Scope == ScopeDocument {
		_, rest := splitCookies(x.r.Header["Cookie"])
		readCookies(rest, "").clearDead(h, func(string) bool { return false }, x.client.secure, maxHeadFields)
	}
	h.Set("Location", "/")
	x.reply.send(http.StatusSeeOther, "text/plain; charset=utf-8", []byte("The session has ended.\n"))
}

// end tells the owners. One that does not hear of it lets the session idle out.
func (x *exchange) end(ctx context.Context, byNode map[peer.ID][]SessionID) {
	var calls sync.WaitGroup
	for node, ids := range byNode {
		calls.Go(func() {
			if err := x.d.endAt(ctx, node, ids[:min(len(ids), maxEnds)]); err != nil {
				x.d.log.Debug().Str(logs.Peer, string(node)).Err(err).Msg("owner not told that a session ends")
			}
		})
	}
	calls.Wait()
}

// sameOrigin reports whether the request comes from a page of this host, or from
// the user's own hand. Browsers say so in Sec-Fetch-Site (Fetch Metadata), but over
// cleartext only in Origin; a program says nothing, and is its user's own.
func sameOrigin(r *http.Request, host string, silence bool) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin" || site == "none"
	}
	from := r.Header.Get("Origin")
	if from == "" {
		from = r.Header.Get("Referer")
	}
	if from == "" {
		return silence
	}
	u, err := url.Parse(from)
	return err == nil && strings.EqualFold(u.Host, host)
}

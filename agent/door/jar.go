package door

import (
	"net/http"
	"slices"
	"time"
)

// jar is the session cookies of one request, and what its answer sets.
//
// In browser scope there is one, "usher". In document scope each document has its
// own beside it, and "usher" says which session the browser used last, for requests
// that name no document.
type jar struct {
	cookieJar
	x       *exchange
	mine    []cookie
	changed bool   // by bind: the browser gets a cookie of ours
	evicted string // base name of the cookie that had to go
}

func newJar(x *exchange, mine []cookie) *jar {
	return &jar{cookieJar: cookieJar{x.client.secure, x.set.Session.SameSite}, x: x, mine: mine}
}

// scoped is the document where sessions are by document, else "".
func (j *jar) scoped(document string) string {
	if j.x.set.Session.Scope == ScopeDocument {
		return document
	}
	return ""
}

// base is the name of the cookie that binds this request.
func (j *jar) base() string {
	if doc := j.scoped(j.x.document); doc != "" {
		return documentCookie(doc)
	}
	return cookieName
}

// current is the token that binds this request, if there is a good one.
func (j *jar) current() (token, bool) {
	base := j.base()
	t, ok := j.find(base)
	if !ok && slices.ContainsFunc(j.mine, func(c cookie) bool { return c.base == base }) {
		j.x.d.metrics.refuse("bad_cookie")
	}
	return t, ok
}

// find is the first good token of that name. There may be several: a browser sends
// what it got on several paths.
func (j *jar) find(base string) (token, bool) {
	for _, c := range j.mine {
		if c.base != base || c.secure != j.secure {
			continue
		}
		if t, err := j.x.conn.token(j.x.d.sealer, base, c.value); err == nil {
			return t, true
		}
	}
	return token{}, false
}

// bind adds to an answer's head what makes the browser come back with b. Nothing is
// set that it has already.
func (j *jar) bind(h http.Header, b binding) {
	if b.open == openKey {
		return
	}
	t := token{session: b.session, engine: b.engine, issued: b.issued, moves: b.moves}
	base := j.base()
	if base != cookieName && j.update(h, base, t) {
		j.evict(h, base)
	}
	j.update(h, cookieName, t)
}

// update sets a cookie unless the browser has it with this meaning; it reports
// whether it did.
func (j *jar) update(h http.Header, base string, t token) bool {
	if old, ok := j.find(base); ok && old.session == t.session && old.engine == t.engine && old.moves == t.moves {
		return false
	}
	value, err := j.x.d.sealer.seal(base, t)
	if err != nil {
		j.x.d.log.Error().Err(err).Msg("session cookie not sealed")
		return false
	}
	h.Add("Set-Cookie", j.set(base, value))
	j.changed = true
	return true
}

// evict clears the oldest document's cookie when another one would be too many.
// Those that cannot be read are oldest of all.
func (j *jar) evict(h http.Header, added string) {
	oldest, at, n := "", time.Time{}, 1
	for _, c := range j.mine {
		if c.base == cookieName || c.base == added || c.secure != j.secure {
			continue
		}
		n++
		t, _ := j.find(c.base) // zero when it is no good
		if oldest == "" || t.issued.Before(at) {
			oldest, at = c.base, t.issued
		}
	}
	if n > maxDocumentCookies {
		j.evicted = oldest
		h.Add("Set-Cookie", j.clear(oldest))
	}
}

// lives reports whether the browser has another session than the one that an answer
// binds it to, of that tag.
func (j *jar) lives(tag string) bool {
	return slices.ContainsFunc(j.mine, func(c cookie) bool {
		if c.base == j.base() || c.base == cookieName || c.base == j.evicted {
			return false
		}
		t, ok := j.find(c.base)
		return ok && tag == cookieTag(t.session)
	})
}

// tokens are the sessions of all cookies, each once.
func (j *jar) tokens() []token {
	var out []token
	seen := map[SessionID]bool{}
	for _, c := range j.mine {
		if t, ok := j.find(c.base); ok && !seen[t.session] {
			seen[t.session] = true
			out = append(out, t)
		}
	}
	return out
}

// clearAll makes the browser forget every cookie of ours that it sent.
func (j *jar) clearAll(h http.Header) {
	done := map[string]bool{}
	for _, c := range j.mine {
		if !done[c.base] && c.secure == j.secure {
			done[c.base] = true
			h.Add("Set-Cookie", j.clear(c.base))
		}
	}
}

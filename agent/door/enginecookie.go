package door

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// In document scope one browser has several sessions, on several engines, at one
// host. Their engines' cookies would overwrite each other: all engines of a kind
// give theirs the same name and Path=/, and each would forget its session whenever
// the user turns to another tab. So the door adds the session to the names of
// engines' cookies on the way out, and takes it off again on the way in:
//
//	engine            door                                      browser
//	Set-Cookie: sid=1; HttpOnly  ──►  Set-Cookie: sid~5f0c...=1; HttpOnly
//	Cookie: sid=1   ◄──  Cookie: sid~5f0c...=1; sid~77ab...=2
//
// An engine sees the cookies of its own session only. Path, Secure, Max-Age and the
// prefixes __Host- and __Secure- keep their meaning. A narrower Path instead would
// lose the cookie on requests outside of the document's path, is not there for
// documents named by a query, and __Host- forbids it.
//
// Cookies that scripts may read keep their names, because a script looks for the
// name that its engine gave (Jupyter's and Streamlit's _xsrf are sent back in a
// field). They are the browser's, as without a door: of two engines the last one
// counts. Those with a Domain are meant for other servers too, and also keep theirs.

// tagMark divides an engine's name for its cookie from the session.
const tagMark = '~'

const (
	tagLen         = 1 + 16 // tagMark and 16 hexadecimal digits
	maxCookieBytes = 4096   // browsers drop cookies whose name and value are longer (RFC 6265bis 5.6)
	maxCleared     = 8      // cookies of sessions that are over, in one answer
)

// cookieTag is what is added to the names of the cookies of a session's engine.
func cookieTag(id SessionID) string { return string(tagMark) + id.Short() }

// cutTag takes the tag off a cookie's name; ok is false when there is none.
func cutTag(name string) (base, tag string, ok bool) {
	at := len(name) - tagLen
	if at < 1 || name[at] != tagMark {
		return name, "", false
	}
	for _, c := range []byte(name[at+1:]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return name, "", false
		}
	}
	return name[:at], name[at:], true
}

// engineCookies are the cookies of one request that are not ours, in document scope.
type engineCookies struct {
	tag   string
	lines []string // for the engine
	own   []string // engine's names of those that came with the tag
	plain []string // names of those that came without any
	other []string // names, whole, of those of other sessions
}

// readCookies divides the Cookie fields of a request of the session. One that came
// with the session's tag is given to the engine under the name that the engine chose,
// and hides one that came without: a script cannot set what the engine meant to keep
// from scripts. All else is left as it is, in order.
func readCookies(lines []string, tag string) *engineCookies {
	e := &engineCookies{tag: tag}
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			switch name, base, t := pairName(pair); t {
			case "":
				e.plain = append(e.plain, name)
			case tag:
				e.own = append(e.own, base)
			default:
				e.other = append(e.other, name)
			}
		}
	}
	for _, line := range lines {
		var kept []string
		for pair := range strings.SplitSeq(line, ";") {
			name, base, t := pairName(pair)
			switch {
			case t == tag:
				_, value, _ := strings.Cut(pair, "=")
				kept = append(kept, base+"="+value)
			case t == "" && !slices.Contains(e.own, name):
				kept = append(kept, strings.TrimLeft(pair, " \t"))
			}
		}
		if len(kept) > 0 {
			e.lines = append(e.lines, strings.Join(kept, "; "))
		}
	}
	return e
}

// pairName is the name in a pair of a Cookie field, and its two parts when it has
// a tag.
func pairName(pair string) (name, base, tag string) {
	name, _, _ = strings.Cut(pair, "=")
	name = strings.Trim(name, " \t")
	if b, t, ok := cutTag(name); ok {
		return name, b, t
	}
	return name, name, ""
}

// restore gives the engine its cookies.
func (e *engineCookies) restore(h http.Header) {
	if len(e.lines) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = e.lines
}

// rename adds the tag to the names of the cookies that the engine sets.
func (e *engineCookies) rename(h http.Header, now time.Time) {
	fields := h["Set-Cookie"]
	if len(fields) == 0 {
		return
	}
	out := make([]string, 0, len(fields)+1)
	for _, f := range fields {
		name, rest, ok := strings.Cut(f, "=")
		name = strings.Trim(name, " \t")
		c := readAttributes(rest)
		if !ok || name == "" || strings.Contains(name, ";") || !e.renames(name, c) {
			out = append(out, f)
			continue
		}
		out = append(out, name+e.tag+"="+rest)
		if c.over(now) && slices.Contains(e.plain, name) {
			out = append(out, f) // from the time before the scope was set
		}
	}
	h["Set-Cookie"] = out
}

// renames says whether a cookie that the engine sets gets the tag: one that scripts
// cannot see, one that came with the tag (engines forget HttpOnly when they delete),
// and one whose name would pass for that of another session.
func (e *engineCookies) renames(name string, c setCookie) bool {
	if _, _, tagged := cutTag(name); tagged {
		return true
	}
	return c.domain == "" && (c.httpOnly || slices.Contains(e.own, name)) &&
		len(name)+tagLen+c.valueLen <= maxCookieBytes
}

// setCookie is what the door reads of a Set-Cookie field. net/http's own reader
// refuses values that browsers take.
type setCookie struct {
	valueLen int
	httpOnly bool
	domain   string
	maxAge   string
	expires  string
}

// readAttributes reads what follows the name and its equals sign.
func readAttributes(rest string) setCookie {
	value, attributes, _ := strings.Cut(rest, ";")
	c := setCookie{valueLen: len(strings.Trim(value, " \t"))}
	for a := range strings.SplitSeq(attributes, ";") {
		key, v, _ := strings.Cut(a, "=")
		v = strings.Trim(v, " \t")
		switch strings.ToLower(strings.Trim(key, " \t")) {
		case "httponly":
			c.httpOnly = true
		case "domain":
			c.domain = strings.TrimPrefix(v, ".")
		case "max-age":
			c.maxAge = v
		case "expires":
			c.expires = v
		}
	}
	return c
}

// over reports whether the field deletes the cookie. Max-Age goes before Expires.
func (c setCookie) over(now time.Time) bool {
	if n, err := strconv.ParseInt(c.maxAge, 10, 64); err == nil {
		return n <= 0
	}
	for _, layout := range []string{time.RFC1123, "Mon, 02-Jan-2006 15:04:05 MST", "Mon, 02-Jan-06 15:04:05 MST"} {
		if t, err := time.Parse(layout, c.expires); err == nil {
			return !t.After(now)
		}
	}
	return false
}

// clearDead makes the browser forget cookies of sessions that it has no more, so that
// they do not pile up: at most that many at a time. live says which tags it has. The
// path cannot be known; it is mostly the root.
func (e *engineCookies) clearDead(h http.Header, live func(tag string) bool, secure bool, most int) {
	var done []string
	for _, name := range e.other {
		_, tag, _ := cutTag(name)
		if len(done) == most || live(tag) || slices.Contains(done, name) {
			continue
		}
		done = append(done, name)
		c := http.Cookie{Name: name, Path: "/", MaxAge: -1, HttpOnly: true, Secure: secure}
		h.Add("Set-Cookie", c.String())
	}
}

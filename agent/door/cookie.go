package door

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
)

// Names of our cookies. Over TLS they carry the prefix that keeps other hosts and
// cleartext from setting them (RFC 6265bis 4.1.3.2).
const (
	cookieName   = "usher"
	hostPrefix   = "__Host-"
	documentHash = 8 // hexadecimal digits
)

// maxDocumentCookies bounds the cookies of one browser in document scope.
const maxDocumentCookies = 16

// documentCookie is the name of the cookie of one document.
func documentCookie(document string) string {
	sum := sha256.Sum256([]byte(document))
	return cookieName + "-" + hex.EncodeToString(sum[:documentHash/2])
}

// ours returns the name without the TLS prefix when it is one of our cookies.
func ours(name string) (base string, secure, ok bool) {
	base, secure = strings.CutPrefix(name, hostPrefix)
	rest, ok := strings.CutPrefix(base, cookieName)
	if !ok || rest == "" {
		return base, secure, ok
	}
	hash, dash := strings.CutPrefix(rest, "-")
	if !dash || len(hash) != documentHash {
		return "", false, false
	}
	for _, c := range []byte(hash) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", false, false
		}
	}
	return base, secure, true
}

// cookie is one of ours as it came in.
type cookie struct {
	base   string // without the TLS prefix
	secure bool
	value  string
}

// splitCookies takes our cookies out of the Cookie fields and returns them beside
// what remains: every other cookie byte for byte, in order. rest is nil when
// nothing remains; lines themselves are not changed.
func splitCookies(lines []string) (mine []cookie, rest []string) {
	for _, line := range lines {
		if !strings.Contains(line, cookieName) {
			rest = append(rest, line)
			continue
		}
		if kept, own := splitLine(line); len(own) == 0 {
			rest = append(rest, line)
		} else {
			mine = append(mine, own...)
			if kept != "" {
				rest = append(rest, kept)
			}
		}
	}
	return mine, rest
}

func splitLine(line string) (kept string, mine []cookie) {
	var b strings.Builder
	first := true
	for pair := range strings.SplitSeq(line, ";") {
		name, value, _ := strings.Cut(pair, "=")
		if base, secure, ok := ours(strings.Trim(name, " \t")); ok {
			mine = append(mine, cookie{base, secure, strings.Trim(value, " \t\"")})
			continue
		}
		if first {
			pair = strings.TrimLeft(pair, " \t")
		} else {
			b.WriteByte(';')
		}
		b.WriteString(pair)
		first = false
	}
	return b.String(), mine
}

// cookieJar makes the Set-Cookie fields of one answer.
type cookieJar struct {
	secure   bool
	sameSite http.SameSite
}

func (j cookieJar) name(base string) string {
	if j.secure {
		return hostPrefix + base
	}
	return base
}

// set is the field that binds; it ends with the browser's session, for the owner
// decides how long ours lasts.
func (j cookieJar) set(base, value string) string { return j.field(base, value, 0) }

// clear is the field that makes the browser forget.
func (j cookieJar) clear(base string) string { return j.field(base, "", -1) }

func (j cookieJar) field(base, value string, maxAge int) string {
	c := http.Cookie{
		Name: j.name(base), Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true,
		Secure: j.secure, SameSite: j.sameSite,
	}
	if j.sameSite == http.SameSiteNoneMode && !j.secure {
		c.SameSite = http.SameSiteLaxMode // browsers throw None away in cleartext
	}
	return c.String()
}

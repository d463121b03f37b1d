package door

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Pattern says where a request names its document. The forms are
//
//	/doc/{document}/...    a path segment; segments may be *, and "..." (or nothing) may follow
//	?app={document}        a query parameter
//	X-Doc: {document}      a header field
type Pattern struct {
	kind     patternKind
	name     string   // of the query parameter or field
	segments []string // of the path; "*" is any, "" the document
	at       int      // index of the document in segments
}

type patternKind byte

const (
	inPath patternKind = iota + 1
	inQuery
	inHeader
)

const documentMark = "{document}"

// maxDocumentKey bounds a key in memory and in reports; longer ones are hashed.
const maxDocumentKey = 128

// ParsePattern reads one pattern. The error says what is wrong with it.
func ParsePattern(s string) (Pattern, error) {
	if strings.Count(s, documentMark) != 1 {
		return Pattern{}, fmt.Errorf("pattern %q: write {document} once", s)
	}
	switch {
	case strings.HasPrefix(s, "/"):
		return parsePathPattern(s)
	case strings.HasPrefix(s, "?"):
		name, rest, _ := strings.Cut(s[1:], "=")
		if rest != documentMark || name == "" || strings.ContainsAny(name, "&;{}# \t") {
			return Pattern{}, fmt.Errorf("pattern %q: a query parameter is written ?name={document}", s)
		}
		return Pattern{kind: inQuery, name: name}, nil
	}
	name, rest, ok := strings.Cut(s, ":")
	if !ok || strings.TrimSpace(rest) != documentMark || !isToken(name) {
		return Pattern{}, fmt.Errorf("pattern %q: begin with / for a path, ? for a query parameter, or write Name: {document}", s)
	}
	return Pattern{kind: inHeader, name: http.CanonicalHeaderKey(name)}, nil
}

func parsePathPattern(s string) (Pattern, error) {
	p := Pattern{kind: inPath, at: -1}
	segments := strings.Split(strings.TrimSuffix(strings.TrimSuffix(s[1:], "..."), "/"), "/")
	for i, seg := range segments {
		switch {
		case seg == documentMark:
			p.at = i
			seg = ""
		case seg == "" || strings.ContainsAny(seg, "{}?#") || seg != "*" && strings.Contains(seg, "*"):
			return Pattern{}, fmt.Errorf("pattern %q: segment %q must be plain text, * or {document}", s, seg)
		}
		p.segments = append(p.segments, seg)
	}
	if p.at < 0 {
		return Pattern{}, fmt.Errorf("pattern %q: {document} must be a whole segment", s)
	}
	return p, nil
}

// String is a form that ParsePattern reads back.
func (p Pattern) String() string {
	switch p.kind {
	case inQuery:
		return "?" + p.name + "=" + documentMark
	case inHeader:
		return p.name + ": " + documentMark
	}
	var b strings.Builder
	for i, seg := range p.segments {
		b.WriteByte('/')
		if i == p.at {
			seg = documentMark
		}
		b.WriteString(seg)
	}
	return b.String()
}

// match returns the document's key, decoded, or "".
func (p Pattern) match(u *url.URL, h http.Header) string {
	switch p.kind {
	case inQuery:
		return queryValue(u.RawQuery, p.name)
	case inHeader:
		return strings.TrimSpace(h.Get(p.name))
	}
	rest, ok := strings.CutPrefix(u.EscapedPath(), "/")
	key := ""
	for i, want := range p.segments {
		if !ok {
			return ""
		}
		var seg string
		seg, rest, ok = strings.Cut(rest, "/")
		dec, err := url.PathUnescape(seg)
		switch {
		case err != nil:
			return ""
		case i == p.at:
			key = dec
		case want != "*" && want != dec:
			return ""
		}
	}
	return key
}

// queryValue is the first value of the parameter, without building the whole map.
func queryValue(query, name string) string {
	for pair := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(pair, "=")
		if dec, err := url.QueryUnescape(k); err != nil || dec != name {
			continue
		}
		if dec, err := url.QueryUnescape(v); err == nil {
			return dec
		}
	}
	return ""
}

// documentKey is the key of the document that a request names, "" for none. A key
// that is too long to keep is replaced by its hash.
func documentKey(patterns []Pattern, u *url.URL, h http.Header) string {
	for _, p := range patterns {
		if key := p.match(u, h); key != "" {
			if len(key) > maxDocumentKey {
				sum := sha256.Sum256([]byte(key))
				return "sha256-" + hex.EncodeToString(sum[:])
			}
			return key
		}
	}
	return ""
}

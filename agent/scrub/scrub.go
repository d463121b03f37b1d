// Package scrub takes secrets out of texts that leave the machine.
//
// It knows two sorts: literals, which whoever makes a Scrubber hands in (the contents of
// secret files, say), and forms that secrets have wherever they come from: usher's own
// tokens and recovery keys, private keys in PEM, passwords and queries in URLs, and the
// values of headers and fields whose names say what they are. It would rather take out a
// word too many than leave a secret in.
package scrub

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
)

// Mark stands where a secret was.
const Mark = "(secret)"

// leastLiteral is the shortest literal that is looked for: a shorter one would be found
// in innocent words.
const leastLiteral = 6

// Scrubber takes secrets out. It is immutable and safe for concurrent use.
type Scrubber struct {
	literals []string // the longest first
	forms    []form
}

type form struct {
	re *regexp.Regexp
	to string
}

// New makes a Scrubber that knows the forms, and these literals as they are, in hex and
// in Base64. Surrounding white space of a literal does not count.
func New(literals ...[]byte) *Scrubber {
	s := &Scrubber{forms: forms()}
	add := func(text string) {
		if len(text) >= leastLiteral && !slices.Contains(s.literals, text) {
			s.literals = append(s.literals, text)
		}
	}
	for _, raw := range literals {
		l := bytes.TrimSpace(raw)
		if len(l) < leastLiteral {
			continue
		}
		add(string(l))
		add(hex.EncodeToString(l))
		add(strings.ToUpper(hex.EncodeToString(l)))
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
			add(enc.EncodeToString(l))
			add(enc.EncodeToString(raw))
		}
		for line := range strings.Lines(string(l)) { // a key file is quoted line by line
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") {
				add(line)
			}
		}
	}
	slices.SortFunc(s.literals, func(a, b string) int { return len(b) - len(a) })
	return s
}

// secretNames say that a value is secret, in headers, fields, queries and flags.
//
//nolint:gosec // it holds names, no secret
const secretNames = `(?:[\w-]*(?:password|passwd|secret|api[_-]?key|private[_-]?key|recovery[_-]?key|credential)[\w-]*|[\w-]*token|authorization|cookie|set-cookie)`

func forms() []form {
	f := func(re, to string) form { return form{regexp.MustCompile(re), to} }
	return []form{
		f(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)`, Mark),
		f(`\bush[a-z]_[A-Za-z0-9_-]+`, Mark),                                                                // API and join tokens
		f(`(?i)\b[a-z0-8]{5}(?:[- ]?[a-z0-8]{5}){11}\b`, Mark),                                              // recovery keys: 12 groups of 5
		f(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}`, "$1 "+Mark),                                      // Authorization
		f(`([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s"'@]*@`, "${1}"+Mark+"@"),                                       // user and password of a URL
		f(`([a-zA-Z][a-zA-Z0-9+.-]*://[^\s"'?#<>]*)\?[^\s"'<>]+`, "${1}?"+Mark),                             // its query
		f(`(?i)(["']?`+secretNames+`\\?["']?\s*[:=]\s*\\?)"(?:[^"\\]|\\[^"])*(\\?)"`, `${1}"`+Mark+`${2}"`), // "secret": "value"
		f(`(?i)(\b`+secretNames+`=)[^\s&"'\\]+`, "${1}"+Mark),                                               // secret=value
	}
}

// Text takes secrets out of a text.
func (s *Scrubber) Text(text string) string {
	for _, l := range s.literals {
		text = strings.ReplaceAll(text, l, Mark)
	}
	for _, f := range s.forms {
		text = f.re.ReplaceAllString(text, f.to)
	}
	return text
}

// Bytes takes secrets out of a text.
func (s *Scrubber) Bytes(b []byte) []byte { return []byte(s.Text(string(b))) }

// Found reports whether a literal stands in what may be no text, such as a profile.
func (s *Scrubber) Found(b []byte) bool {
	return slices.ContainsFunc(s.literals, func(l string) bool { return bytes.Contains(b, []byte(l)) })
}

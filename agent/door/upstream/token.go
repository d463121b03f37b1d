package upstream

import "strings"

// The characters of a token (RFC 9110 5.6.2) as two 64-bit sets.
const (
	tokenLow  = 0x03ff6cfa00000000 // !#$%&'*+-. and digits
	tokenHigh = 0x57ffffffc7fffffe // letters, ^_`|~
)

func isTokenByte(c byte) bool {
	if c < 64 {
		return tokenLow>>c&1 == 1
	}
	return c < 128 && uint64(tokenHigh)>>(c-64)&1 == 1
}

func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// isFieldValue reports whether s holds only what RFC 9110 5.5 allows: visible
// characters, obs-text, space and tab.
func isFieldValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// trimOWS removes optional white space, which is space and tab and nothing else.
func trimOWS(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// eachElement calls f with every non-empty element of comma-separated lists that
// hold no quoted strings (RFC 9110 5.6.1), until f returns false.
func eachElement(lists []string, f func(string) bool) {
	for _, list := range lists {
		for e := range strings.SplitSeq(list, ",") {
			if e = trimOWS(e); e != "" && !f(e) {
				return
			}
		}
	}
}

// hasElement reports whether the lists contain the token, in any case.
func hasElement(lists []string, token string) bool {
	found := false
	eachElement(lists, func(e string) bool {
		found = strings.EqualFold(e, token)
		return !found
	})
	return found
}

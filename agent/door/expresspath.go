package door

// isOwnPath reports whether a path may be one that the door answers itself.
func isOwnPath(p []byte) bool {
	return foldedPrefix(p, "/usher/") || len(p) == len(statusAlias) && foldedPrefix(p, foldedAlias)
}

// foldedPrefix reports whether p begins with prefix, which is in lower case, in any case.
func foldedPrefix(p []byte, prefix string) bool {
	if len(p) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		c := p[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}

// harmless reports whether isPrivate would say no, for those raw paths that every engine
// reads in one way only: no dot segments, no doubled or backward slashes, no path
// parameters, and no escapes but of what names no path of ours. Prefixes are in lower case.
func harmless(p []byte, private []string) bool {
	for i := 1; i < len(p); i++ {
		switch c := p[i]; {
		case c == '\\' || c == ';':
			return false
		case (c == '/' || c == '.') && p[i-1] == '/':
			return false
		case c == '%':
			if e := unhexPair(p[i+1:]); e < 0x80 && e != ' ' && e != '(' && e != ')' && e != '&' && e != ',' {
				return false
			}
		}
	}
	for _, prefix := range private {
		if foldedPrefix(p, prefix) {
			return false
		}
	}
	return true
}

// unhexPair reads two hexadecimal digits, which have been checked.
func unhexPair(p []byte) byte {
	digit := func(c byte) byte {
		if c <= '9' {
			return c - '0'
		}
		return c&^0x20 - 'A' + 10
	}
	return digit(p[0])<<4 | digit(p[1])
}

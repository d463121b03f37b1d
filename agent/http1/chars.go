package http1

import (
	"encoding/binary"
	"math/bits"
)

const (
	nothing32 = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

	// lower maps a character of a token (RFC 9110 5.6.2) to its lower case, any other
	// to zero: one look answers both questions.
	lower = nothing32 +
		"\x00!\x00#$%&'\x00\x00*+\x00-.\x000123456789\x00\x00\x00\x00\x00\x00" +
		"\x00abcdefghijklmnopqrstuvwxyz\x00\x00\x00^_" +
		"`abcdefghijklmnopqrstuvwxyz\x00|\x00~\x00" +
		nothing32 + nothing32 + nothing32 + nothing32
)

// Eight bytes at a time: a bit pattern in every byte of a word.
const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
	dels = 0x7f * ones
)

// below has the top bit set in the lowest byte of x that is less than n, and perhaps in
// higher ones; n is at most 0x80. equals does so for a byte that is c. Only the lowest
// bit that is set can be trusted, which is the one that is asked for.
func below(x uint64, n uint64) uint64 { return (x - n*ones) &^ x & tops }

func equals(x uint64, pattern uint64) uint64 {
	x ^= pattern
	return (x - ones) &^ x & tops
}

// skipText gives the index of the first byte at or after i that may not stand in a field
// value (RFC 9110 5.5) or is a tab; len(b) if there is none. Bytes above 0x7f may.
func skipText(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		if m := below(x, ' ') | equals(x, dels); m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] != 0x7f {
		i++
	}
	return i
}

// skipVisible gives the index of the first byte at or after i that is not visible ASCII.
func skipVisible(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		if m := below(x, '!') | equals(x, dels) | x&tops; m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for i < len(b) && b[i] > ' ' && b[i] < 0x7f {
		i++
	}
	return i
}

// skipValue is skipText past tabs.
func skipValue(b []byte, i int) int {
	for {
		i = skipText(b, i)
		if i == len(b) || b[i] != '\t' {
			return i
		}
		i++
	}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// EqualFold reports whether b is the token s in any case. s is in lower case.
func EqualFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if lower[c] != s[i] {
			return false
		}
	}
	return true
}

// element cuts the first element off a comma-separated list that holds no quoted strings
// (RFC 9110 5.6.1), without the white space around it. It may be empty.
func element(list []byte) (first, rest []byte) {
	i := 0
	for i < len(list) && list[i] != ',' {
		i++
	}
	first = trim(list[:i])
	if i < len(list) {
		i++
	}
	return first, list[i:]
}

// HasToken reports whether a comma-separated list has the token, in any case, as one of
// its elements. token is in lower case.
func HasToken(list []byte, token string) bool {
	for len(list) > 0 {
		var e []byte
		if e, list = element(list); EqualFold(e, token) {
			return true
		}
	}
	return false
}

// trim cuts off optional white space, which is space and tab and nothing else.
func trim(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

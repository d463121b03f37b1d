package builtin

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxColumns    = 1024
	maxHeader     = 64 << 10 // bytes of the first line
	maxColumnName = 256      // bytes
)

// CSVError says where a CSV file is malformed.
type CSVError struct {
	Line   int // counted from 1
	Column int // counted from 1, in bytes
	Reason string
}

// Error implements error.
func (e *CSVError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Reason)
}

func malformed(line, column int, format string, args ...any) *CSVError {
	return &CSVError{Line: line, Column: column, Reason: fmt.Sprintf(format, args...)}
}

// bom is the UTF-8 byte order mark that spreadsheets put in front.
const bom = "\uFEFF"

// detectComma finds what separates the columns: the commonest of ',' ';' and tab
// outside quotes in the first line; ',' where there is none. start is the
// beginning of the file without its byte order mark.
func detectComma(start []byte) rune {
	counts := map[byte]int{}
	quoted := false
scan:
	for _, c := range bytes.TrimLeft(start, "\r\n") { // empty lines do not count
		switch {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '\n' || c == '\r':
			break scan
		case c == ',' || c == ';' || c == '\t':
			counts[c]++
		}
	}
	best := byte(',')
	for _, c := range []byte{';', '\t'} {
		if counts[c] > counts[best] {
			best = c
		}
	}
	return rune(best)
}

// trimBOM returns b without a byte order mark.
func trimBOM(b []byte) []byte { return bytes.TrimPrefix(b, []byte(bom)) }

// checkHeader checks the names of the columns; pos tells where a field began.
func checkHeader(names []string, pos func(field int) (line, column int)) error {
	if len(names) > maxColumns {
		line, col := pos(maxColumns)
		return malformed(line, col, "%d columns: at most %d are allowed", len(names), maxColumns)
	}
	seen := make(map[string]int, len(names))
	for i, n := range names {
		line, col := pos(i)
		switch {
		case n == "":
			return malformed(line, col, "column %d has no name", i+1)
		case len(n) > maxColumnName:
			return malformed(line, col, "the name of column %d is longer than %d bytes", i+1, maxColumnName)
		case !utf8.ValidString(n) || strings.ContainsFunc(n, unicode.IsControl):
			return malformed(line, col, "the name of column %d is not printable UTF-8", i+1)
		}
		if first, dup := seen[n]; dup {
			return malformed(line, col, "column %d has the same name as column %d: %q", i+1, first+1, n)
		}
		seen[n] = i
	}
	return nil
}

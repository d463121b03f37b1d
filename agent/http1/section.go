package http1

// phase is what a parser waits for.
type phase uint8

const (
	atStart phase = iota
	inMethod
	inTarget
	inVersion // in a status line: its last byte
	inReason
	atLine // the beginning of a field line, or of the empty line
	inName
	inValue
	atLineEnd // a CR has come
	parsed
)

// section is a parser of field lines (RFC 9112 5), up to and with the empty line. It
// stops where the bytes end and goes on there; it never looks at a byte twice, but for
// a constant number.
type section struct {
	phase phase
	at    int  // the next byte to look at
	line  span // the one in progress: name and colon
}

// scan reads on and adds to f. It reports whether the empty line was found; then at is behind it.
func (s *section) scan(f *Fields, b []byte, most int) (bool, error) {
	i := s.at
	for i < len(b) {
		switch s.phase {
		case atLine:
			if b[i] == '\r' {
				return s.emptyLine(b, i)
			}
			if len(f.spans) >= most {
				return false, fault(431, i, "too many fields")
			}
			s.line.name, s.phase = uint16(i), inName
			fallthrough
		case inName:
			for i < len(b) && lower[b[i]] != 0 {
				i++
			}
			if i == len(b) {
				break
			}
			if b[i] != ':' || i == int(s.line.name) {
				return false, badName(b, i, int(s.line.name))
			}
			s.line.colon, s.phase = uint16(i), inValue
			i++
			fallthrough
		case inValue:
			i = skipValue(b, i)
			if i == len(b) {
				break
			}
			if b[i] != '\r' {
				return false, badText(b[i], i, "field value")
			}
			s.phase = atLineEnd
			i++
		case atLineEnd:
			if b[i] != '\n' {
				return false, bad(i-1, "bare CR in a field value")
			}
			s.keep(f, b, i-1)
			s.phase = atLine
			i++
		}
	}
	s.at = i
	return false, nil
}

// keep notes the field whose line ends at cr.
func (s *section) keep(f *Fields, b []byte, cr int) {
	start := int(s.line.colon) + 1
	for start < cr && isBlank(b[start]) {
		start++
	}
	for cr > start && isBlank(b[cr-1]) {
		cr--
	}
	s.line.value, s.line.end = uint16(start), uint16(cr)
	f.spans = append(f.spans, s.line)
}

func (s *section) emptyLine(b []byte, i int) (bool, error) {
	s.at = i
	if i+1 == len(b) {
		return false, nil
	}
	if b[i+1] != '\n' {
		return false, bad(i, "bare CR at the beginning of a field line")
	}
	s.at, s.phase = i+2, parsed
	return true, nil
}

func badName(b []byte, i, start int) *Error {
	switch c := b[i]; {
	case c == '\n':
		return bad(i, "bare LF in place of a field name")
	case isBlank(c) && i == start:
		return bad(i, "folded line")
	case isBlank(c):
		return bad(i, "white space in or after a field name")
	case c == ':':
		return bad(i, "field without a name")
	}
	return bad(i, "character that is not allowed in a field name")
}

func badText(c byte, i int, where string) *Error {
	switch c {
	case '\n':
		return bad(i, "bare LF in a "+where)
	case 0:
		return bad(i, "NUL in a "+where)
	}
	return bad(i, "control character in a "+where)
}

package http1

// Fields are the field lines of a head or of a trailer section, in the order in which
// they came. Names and values point into the buffer that was parsed; values have no
// white space around them. The zero value is empty. Reading is safe for concurrent use.
type Fields struct {
	buf   []byte
	spans []span
	named bool // Connection names fields
}

// span is where one field stands: the name from name to colon, the value from value to end.
type span struct{ name, colon, value, end uint16 }

// Len is the number of field lines.
func (f *Fields) Len() int { return len(f.spans) }

// Name is that of the i-th field, as it came: a token (RFC 9110 5.6.2), in any case.
func (f *Fields) Name(i int) []byte {
	s := f.spans[i]
	return f.buf[s.name:s.colon:s.colon]
}

// Value is that of the i-th field: visible characters, space, tab and bytes above 0x7f.
func (f *Fields) Value(i int) []byte {
	s := f.spans[i]
	return f.buf[s.value:s.end:s.end]
}

// Find gives the index of the first field at or after from that has the name, which is
// in lower case, or -1.
func (f *Fields) Find(name string, from int) int {
	for i := from; i < len(f.spans); i++ {
		s := f.spans[i]
		if int(s.colon-s.name) == len(name) && EqualFold(f.buf[s.name:s.colon], name) {
			return i
		}
	}
	return -1
}

// Get gives the value of the first field of that name, which is in lower case, and
// whether there is one.
func (f *Fields) Get(name string) ([]byte, bool) {
	if i := f.Find(name, 0); i >= 0 {
		return f.Value(i), true
	}
	return nil, false
}

// Hop reports whether the i-th field speaks of this connection only and is not to be
// passed on (RFC 9110 7.6.1): Connection and the fields that it names, Keep-Alive,
// Proxy-Connection, TE, Transfer-Encoding and Upgrade. A sender can name anything in
// Connection, also what it is not his to remove: write Host, the framing and your own
// fields yourself.
// Trailer and what concerns authentication by proxies are for the caller to judge.
func (f *Fields) Hop(i int) bool {
	name := f.Name(i)
	switch len(name) {
	case 2:
		if EqualFold(name, "te") {
			return true
		}
	case 7:
		if EqualFold(name, "upgrade") {
			return true
		}
	case 10:
		if EqualFold(name, "connection") || EqualFold(name, "keep-alive") {
			return true
		}
	case 16:
		if EqualFold(name, "proxy-connection") {
			return true
		}
	case 17:
		if EqualFold(name, "transfer-encoding") {
			return true
		}
	}
	return f.named && f.isNamed(name)
}

// isNamed reports whether one of the Connection fields has the name as an element.
func (f *Fields) isNamed(name []byte) bool {
	for i := f.Find("connection", 0); i >= 0; i = f.Find("connection", i+1) {
		for list := f.Value(i); len(list) > 0; {
			var e []byte
			if e, list = element(list); equalTokens(e, name) {
				return true
			}
		}
	}
	return false
}

func equalTokens(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower[a[i]] != lower[b[i]] || lower[a[i]] == 0 {
			return false
		}
	}
	return true
}

package http1

const (
	versionForm = "HTTP/d.d"
	versionLen  = len(versionForm)
)

// checkVersion reads "HTTP/1.0" or "HTTP/1.1" at s.at; s.at stays until there is all of it.
// A fault is found at the first byte that shows it, wherever the bytes are cut.
func (s *section) checkVersion(b []byte, where string) (minor uint8, more bool, err error) {
	v := b[s.at:min(len(b), s.at+versionLen)]
	if string(v) == "HTTP/1.1" {
		return 1, false, nil
	}
	for i, c := range v {
		if want := versionForm[i]; want == 'd' && !isDigit(c) || want != 'd' && want != c {
			return 0, false, bad(s.at+i, where+" has no version where one should be")
		}
	}
	switch {
	case len(v) < versionLen:
		return 0, true, nil
	case string(v) == "HTTP/1.0":
		return 0, false, nil
	}
	return 0, false, fault(505, s.at, "version is neither HTTP/1.0 nor HTTP/1.1")
}

// endLine reads the version and the line end behind it.
func (r *Request) endLine(b []byte) (more bool, err error) {
	if r.Minor, more, err = r.checkVersion(b, "request line"); more || err != nil {
		return more, err
	}
	i := r.at + versionLen
	switch {
	case i == len(b):
		return true, nil
	case b[i] == '\n':
		return false, bad(i, "bare LF in the request line")
	case b[i] != '\r':
		return false, bad(i, "request line does not end after the version")
	case i+1 == len(b):
		return true, nil
	case b[i+1] != '\n':
		return false, bad(i, "bare CR in the request line")
	}
	r.at, r.phase = i+2, atLine
	return false, nil
}

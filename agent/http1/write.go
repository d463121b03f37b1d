package http1

import "strconv"

// Text is what names and values are given as.
type Text interface{ ~string | ~[]byte }

// AppendRequestLine appends the request line of HTTP/1.1 with the method, the path and
// the query of r, in origin-form whatever the form was in which they came. r was parsed;
// it is not checked again.
func AppendRequestLine(dst []byte, r *Request) []byte {
	dst = append(dst, r.Method...)
	dst = append(dst, ' ')
	dst = r.AppendTarget(dst)
	return append(dst, " HTTP/1.1\r\n"...)
}

// AppendTarget appends path and query.
func (r *Request) AppendTarget(dst []byte) []byte {
	dst = append(dst, r.Path...)
	if r.Query != nil {
		dst = append(dst, '?')
		dst = append(dst, r.Query...)
	}
	return dst
}

// AppendStatusLine appends the status line of HTTP/1.1. The reason may be empty. status
// is from 100 to 999; it returns ErrValue, and dst as it was, for any other, and for a
// reason that may not be written.
func AppendStatusLine[R Text](dst []byte, status int, reason R) ([]byte, error) {
	if status < 100 || status > 999 || !isText(reason) {
		return dst, ErrValue
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, reason...)
	return append(dst, '\r', '\n'), nil
}

// AppendField appends one field line. It returns ErrValue, and dst as it was, when name is
// no token or value has a character that may not stand in a field: CR, LF, NUL and all
// other control characters but tab.
func AppendField[N, V Text](dst []byte, name N, value V) ([]byte, error) {
	if !isToken(name) || !isText(value) {
		return dst, ErrValue
	}
	dst = append(dst, name...)
	dst = append(dst, ':', ' ')
	dst = append(dst, value...)
	return append(dst, '\r', '\n'), nil
}

// AppendLength appends a Content-Length. n is not negative.
func AppendLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, '\r', '\n')
}

// AppendTo appends the i-th field line, from the parsed form: without the white space
// that was around the value. It was parsed; it is not checked again.
func (f *Fields) AppendTo(dst []byte, i int) []byte {
	dst = append(dst, f.Name(i)...)
	dst = append(dst, ':', ' ')
	dst = append(dst, f.Value(i)...)
	return append(dst, '\r', '\n')
}

// AppendEnd appends the empty line that ends a head or a trailer section.
func AppendEnd(dst []byte) []byte { return append(dst, '\r', '\n') }

// AppendChunk appends data as one chunk. Without data it appends nothing, because an
// empty chunk would end the body.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	dst = AppendChunkSize(dst, int64(len(data)))
	dst = append(dst, data...)
	return append(dst, '\r', '\n')
}

// AppendChunkSize appends what stands before the n bytes of a chunk; behind them belongs
// another line end (AppendEnd). n is more than 0.
func AppendChunkSize(dst []byte, n int64) []byte {
	dst = strconv.AppendInt(dst, n, 16)
	return append(dst, '\r', '\n')
}

// AppendLastChunk appends the chunk that ends the data. The trailer section must follow:
// fields, if there are any, and AppendEnd.
func AppendLastChunk(dst []byte) []byte { return append(dst, '0', '\r', '\n') }

func isToken[T Text](s T) bool {
	for i := range len(s) {
		if lower[s[i]] == 0 {
			return false
		}
	}
	return len(s) > 0
}

func isText[T Text](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

package http1

const (
	maxDigits = 15 // of a chunk size; fits int64

	// maxExcess is how many bytes of chunk extensions may come beyond those that data
	// pays for, one byte each. Signed chunks send 85 for 8 KiB or more.
	maxExcess = 2 << 10
)

// chunkState is what the decoder of a chunked body waits for (RFC 9112 7.1).
type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExtension
	sizeLF
	chunkData
	dataCR
	dataLF
	trailerSection
)

// chunk is Next for a chunked body.
func (b *Body) chunk(p []byte) (skip, data int, err error) {
	i := 0
	for i < len(p) {
		c := p[i]
		switch b.state {
		case chunkSize:
			if err := b.sizeByte(c, i); err != nil {
				return 0, 0, err
			}
		case chunkExtension:
			if i, err = b.extension(p, i); err != nil {
				return 0, 0, err
			}
			continue
		case sizeLF:
			if c != '\n' {
				return 0, 0, b.bad(i, "bare CR after a chunk size")
			}
			b.sizeEnd()
		case chunkData:
			data = int(min(b.left, int64(len(p)-i)))
			b.Took(int64(data))
			return i, data, nil
		case dataCR:
			if c != '\r' {
				return 0, 0, b.bad(i, "chunk is longer than its size")
			}
			b.state = dataLF
		case dataLF:
			if c != '\n' {
				return 0, 0, b.bad(i, "bare CR after a chunk")
			}
			b.state = chunkSize
		case trailerSection:
			n, err := b.readTrailer(p[i:])
			return i + n, 0, err
		}
		i++
	}
	return i, 0, nil
}

func (b *Body) bad(i int, reason string) *Error {
	return &Error{Status: 400, Reason: reason, Offset: b.passed + int64(i)}
}

func (b *Body) sizeByte(c byte, i int) error {
	v := unhex(c)
	switch {
	case v <= 15 && b.digits == maxDigits:
		return b.bad(i, "chunk size is too large")
	case v <= 15:
		b.left = b.left<<4 | int64(v)
		b.digits++
	case b.digits == 0:
		return b.bad(i, "no chunk size where one should be")
	case c == '\r':
		b.state = sizeLF
	case c == ';':
		b.state = chunkExtension
		b.excess++
	case c == '\n':
		return b.bad(i, "bare LF after a chunk size")
	default:
		return b.bad(i, "character that is not allowed in a chunk size")
	}
	return nil
}

// sizeEnd is at the end of the line with the size.
func (b *Body) sizeEnd() {
	b.digits = 0
	b.state = chunkData
	if b.left == 0 {
		b.state = trailerSection
		b.section = section{phase: atLine}
		return
	}
	b.excess -= int(min(b.left, int64(b.excess)))
}

// extension skips a chunk extension from i, and gives the index behind what there is of it.
func (b *Body) extension(p []byte, i int) (int, error) {
	room := max(maxExcess-b.excess, 0)
	end := skipValue(p[:min(len(p), i+room+1)], i)
	switch {
	case end-i > room:
		return 0, b.bad(i+room, "chunk extensions are too large")
	case end < len(p) && p[end] != '\r':
		e := badText(p[end], end, "chunk extension")
		e.Offset += b.passed
		return 0, e
	case end < len(p):
		b.state = sizeLF
		b.excess += end - i
		return end + 1, nil
	}
	b.excess += end - i
	return end, nil
}

// readTrailer reads the trailer section when all of it is there, and gives its length.
func (b *Body) readTrailer(p []byte) (int, error) {
	whole := len(p) >= b.limits.Trailer
	p = p[:min(len(p), b.limits.Trailer)]
	done, err := b.section.scan(&b.trailer, p, b.limits.Fields)
	switch {
	case err != nil:
		return 0, err
	case done:
		b.trailer.buf = p
		b.trailer.dropForbidden()
		b.kind = NoBody
		return b.section.at, nil
	case whole:
		return 0, fault(431, b.limits.Trailer, "the trailer section is too large")
	}
	return 0, nil
}

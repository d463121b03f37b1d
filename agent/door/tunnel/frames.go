package tunnel

// Opcodes of RFC 6455 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa

	finBit     = 0x80
	rsvBits    = 0x70
	maskBit    = 0x80
	maxControl = 125 // bytes of payload
)

// FrameError means that an end of a tunnel broke the framing of RFC 6455. Reason is
// a constant phrase.
type FrameError struct{ Reason string }

func (e *FrameError) Error() string { return "websocket framing broken: " + e.Reason }

// frameEvent is what a scan came to.
type frameEvent uint8

const (
	inFrame   frameEvent = iota // all bytes used up, within a frame
	headRead                    // the frame's header is complete
	frameDone                   // the frame's payload is complete; follows headRead always
)

// frameScanner follows one direction of a WebSocket by its frame headers. It looks
// at no payload and keeps 16 bytes of state. The zero value is at the beginning of
// a stream.
type frameScanner struct {
	left    uint64 // before the header is complete: the length read so far; then: payload to come
	first   byte   // FIN, RSV, opcode
	second  byte   // mask bit, short length
	got     uint8  // header bytes read
	payload bool   // the header is complete
	open    bool   // a fragmented message is under way
}

// atBoundary reports whether a control frame may be put in here.
func (s *frameScanner) atBoundary() bool { return s.got == 0 }

// due reports whether scan has something to tell without another byte: the end of
// a frame without payload.
func (s *frameScanner) due() bool { return s.payload && s.left == 0 }

// opcode, valid from headRead to frameDone, as is left.
func (s *frameScanner) opcode() byte { return s.first & 0x0f }

// control reports whether the frame at hand is a control frame.
func (s *frameScanner) control() bool { return s.first&0x08 != 0 }

// scan uses up bytes of p, n of them, until something is to be told. masked says
// whether this direction's frames must be masked: a client's must, a server's must
// not (RFC 6455 5.1).
func (s *frameScanner) scan(p []byte, masked bool) (n int, ev frameEvent, err error) {
	if s.payload {
		return s.skip(p)
	}
	for i, c := range p {
		if err := s.header(c, masked); err != nil {
			return i + 1, inFrame, err
		}
		if s.payload {
			return i + 1, headRead, nil
		}
	}
	return len(p), inFrame, nil
}

func (s *frameScanner) skip(p []byte) (int, frameEvent, error) {
	if uint64(len(p)) < s.left {
		s.left -= uint64(len(p))
		return len(p), inFrame, nil
	}
	n := int(s.left)
	s.left, s.got, s.payload = 0, 0, false
	return n, frameDone, nil
}

// header takes the next byte of a header.
func (s *frameScanner) header(c byte, masked bool) error {
	s.got++
	switch s.got {
	case 1:
		s.first = c
		return s.checkFirst()
	case 2:
		s.second = c
		if err := s.checkSecond(masked); err != nil {
			return err
		}
	default:
		if s.got <= 2+s.extended() {
			s.left = s.left<<8 | uint64(c)
		}
	}
	if s.got == 2+s.extended() {
		if err := s.checkLength(); err != nil {
			return err
		}
	}
	s.payload = s.got == s.headerLen()
	return nil
}

// extended is the number of bytes of the long forms of the length.
func (s *frameScanner) extended() uint8 {
	switch s.second &^ maskBit {
	case 126:
		return 2
	case 127:
		return 8
	}
	return 0
}

func (s *frameScanner) headerLen() uint8 {
	n := 2 + s.extended()
	if s.second&maskBit != 0 {
		n += 4
	}
	return n
}

func (s *frameScanner) checkFirst() error {
	fin := s.first&finBit != 0
	switch s.opcode() {
	case opContinuation:
		if !s.open {
			return &FrameError{"continuation of nothing"}
		}
		s.open = !fin
	case opText, opBinary:
		if s.open {
			return &FrameError{"message within a message"}
		}
		s.open = !fin
	case opClose, opPing, opPong:
		// Reserved bits of data frames are the business of the ends, which may have
		// agreed on an extension; none has a meaning on control frames.
		if !fin || s.first&rsvBits != 0 {
			return &FrameError{"control frame with fragments or reserved bits"}
		}
	default:
		return &FrameError{"reserved opcode"}
	}
	return nil
}

func (s *frameScanner) checkSecond(masked bool) error {
	short := s.second &^ maskBit
	switch {
	case masked != (s.second&maskBit != 0):
		return &FrameError{"mask bit is wrong for the direction"}
	case s.control() && short > maxControl:
		return &FrameError{"control frame is too long"}
	}
	s.left = 0
	if short <= maxControl {
		s.left = uint64(short)
	}
	return nil
}

// checkLength refuses lengths not in their shortest form, and over 63 bits.
func (s *frameScanner) checkLength() error {
	switch s.extended() {
	case 2:
		if s.left <= maxControl {
			return &FrameError{"length is not in its shortest form"}
		}
	case 8:
		if s.left <= 0xffff {
			return &FrameError{"length is not in its shortest form"}
		}
		if s.left>>63 != 0 {
			return &FrameError{"length has more than 63 bits"}
		}
	}
	return nil
}

// appendFrame appends a control frame with a payload of at most 125 bytes. With a
// key it is masked, as a client's must be.
func appendFrame(b []byte, op byte, payload []byte, key *[4]byte) []byte {
	length := byte(len(payload))
	if key == nil {
		return append(append(b, finBit|op, length), payload...)
	}
	b = append(b, finBit|op, maskBit|length)
	b = append(b, key[:]...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// HTTP/2 as far as one request at a time needs it (RFC 9113 and 7541).
const (
	h2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

	dataFrame     = 0
	headersFrame  = 1
	resetFrame    = 3
	settingsFrame = 4
	pingH2Frame   = 6
	goAwayFrame   = 7
	windowFrame   = 8
	continueFrame = 9

	endStream  = 0x1
	ack        = 0x1
	endHeaders = 0x4

	mostWindow = 1<<31 - 1
)

// h2 is a client's connection on which one request follows the other.
type h2 struct {
	conn   io.ReadWriter
	buf    []byte // what has come; frames begin at its begin
	piece  []byte
	out    []byte
	stream uint32 // of the last request
	taken  int    // bytes of bodies since the window was opened
	status bool   // :status 200 has come
	got    int
}

var errH2 = errors.New("the proxy's HTTP/2 is not understood")

// openH2 begins a connection. The window of the connection and those of streams are as
// large as they can be.
func openH2(conn io.ReadWriter) (*h2, error) {
	c := &h2{conn: conn, piece: make([]byte, 16<<10)}
	c.out = append(c.out, h2Preface...)
	c.out = appendH2(c.out, settingsFrame, 0, 0, append(setting(2, 0), setting(4, mostWindow)...)) // no push
	c.out = appendH2(c.out, windowFrame, 0, 0, binary.BigEndian.AppendUint32(nil, mostWindow-65535))
	_, err := conn.Write(c.out)
	return c, err
}

func setting(key uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(nil, key), value)
}

func appendH2(out []byte, kind, flags byte, stream uint32, payload []byte) []byte {
	out = append(out, byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload)), kind, flags)
	return append(binary.BigEndian.AppendUint32(out, stream), payload...)
}

// field is a name and a value of a head.
type field struct{ name, value string }

// literals is a head of which the server keeps every field in its table: what a browser's
// first request is. Names and values have fewer than 127 bytes or are long, in the way of
// RFC 7541 5.1.
func literals(fields []field) []byte {
	var out []byte
	for _, f := range fields {
		out = append(out, 0x40)
		out = append(appendLength(out, len(f.name)), f.name...)
		out = append(appendLength(out, len(f.value)), f.value...)
	}
	return out
}

// indexed is the same head in later requests: the latest entry of the table is 62.
func indexed(n int) []byte {
	var out []byte
	for i := range n {
		out = append(out, 0x80|byte(62+n-1-i))
	}
	return out
}

// appendLength is a whole number with a prefix of 7 bits.
func appendLength(out []byte, n int) []byte {
	if n < 127 {
		return append(out, byte(n))
	}
	out = append(out, 127)
	for n -= 127; n >= 128; n >>= 7 {
		out = append(out, byte(n)|0x80)
	}
	return append(out, byte(n))
}

// ask sends a request with a head that literals or indexed made, and reads its answer: how
// many bytes it holds. away means that the proxy wants no further request here.
func (c *h2) ask(head []byte) (got int, away bool, err error) {
	c.stream += 2
	if c.stream == 2 {
		c.stream = 1
	}
	c.status, c.got = false, 0
	c.out = appendH2(c.out[:0], headersFrame, endHeaders|endStream, c.stream, head)
	if _, err := c.conn.Write(c.out); err != nil {
		return 0, false, fmt.Errorf("send a request: %w", err)
	}
	for {
		end, gone, err := c.frame()
		if err != nil {
			return 0, false, err
		}
		away = away || gone
		if end {
			break
		}
	}
	if !c.status {
		return 0, false, fmt.Errorf("the answer's status is not 200: %w", errH2)
	}
	return c.got, away, nil
}

// frame reads one and answers it where that is due.
func (c *h2) frame() (end, away bool, err error) {
	for len(c.buf) < 9 || len(c.buf) < 9+c.length() {
		n, err := c.conn.Read(c.piece)
		c.buf = append(c.buf, c.piece[:n]...)
		if err != nil && n == 0 {
			return false, false, fmt.Errorf("read a frame: %w", err)
		}
	}
	n := 9 + c.length()
	f := c.buf[:n]
	kind, flags, stream, payload := f[3], f[4], binary.BigEndian.Uint32(f[5:])&mostWindow, f[9:]
	end, away, err = c.take(kind, flags, stream, payload)
	c.buf = append(c.buf[:0], c.buf[n:]...)
	return end, away, err
}

func (c *h2) length() int { return int(c.buf[0])<<16 | int(c.buf[1])<<8 | int(c.buf[2]) }

func (c *h2) take(kind, flags byte, stream uint32, payload []byte) (end, away bool, err error) {
	c.out = c.out[:0]
	switch kind {
	case dataFrame, headersFrame:
		if stream != c.stream {
			return false, false, fmt.Errorf("a frame of stream %d instead of %d: %w", stream, c.stream, errH2)
		}
		if kind == headersFrame {
			c.status = c.status || isOK(payload, flags)
		} else {
			c.got += len(payload)
			c.taken += len(payload)
		}
		if c.taken > mostWindow/2 {
			c.out = appendH2(c.out, windowFrame, 0, 0, binary.BigEndian.AppendUint32(nil, uint32(c.taken)))
			c.taken = 0
		}
		end = flags&endStream != 0
	case settingsFrame:
		if flags&ack == 0 {
			if err := checkSettings(payload); err != nil {
				return false, false, err
			}
			c.out = appendH2(c.out, settingsFrame, ack, 0, nil)
		}
	case pingH2Frame:
		if flags&ack == 0 {
			c.out = appendH2(c.out, pingH2Frame, ack, 0, payload)
		}
	case resetFrame:
		return false, false, fmt.Errorf("the proxy reset a stream: %w", errH2)
	case goAwayFrame:
		away = true
	case windowFrame, continueFrame:
	}
	if len(c.out) > 0 {
		_, err = c.conn.Write(c.out)
	}
	return end, away, err
}

// isOK reports whether a head begins with :status 200, the eighth of the static table,
// maybe behind new sizes of the table and a padding and priority.
func isOK(payload []byte, flags byte) bool {
	if flags&0x8 != 0 && len(payload) > 0 { // padded
		payload = payload[1:]
	}
	if flags&0x20 != 0 && len(payload) >= 5 { // with a priority
		payload = payload[5:]
	}
	for len(payload) > 0 && payload[0]&0xe0 == 0x20 {
		long := payload[0]&0x1f == 0x1f
		payload = payload[1:]
		for long && len(payload) > 0 {
			long, payload = payload[0]&0x80 != 0, payload[1:]
		}
	}
	return len(payload) > 0 && payload[0] == 0x88
}

// checkSettings refuses a table that is too small for indexed.
func checkSettings(payload []byte) error {
	for ; len(payload) >= 6; payload = payload[6:] {
		if key, value := binary.BigEndian.Uint16(payload), binary.BigEndian.Uint32(payload[2:]); key == 1 && value < 4096 {
			return fmt.Errorf("the proxy keeps %d bytes of heads: %w", value, errH2)
		}
	}
	return nil
}

package membership

import (
	"encoding/binary"
	"fmt"
	"io"
)

// maxFrame bounds one packet on a connection.
const maxFrame = 64 << 10

// frameHeader is the length before each packet, big-endian.
const frameHeader = 4

// appendFrame adds a packet of 1 to maxFrame bytes to b.
func appendFrame(b, packet []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(packet)))
	return append(b, packet...)
}

// readFrame reads one packet into memory of its own: memberlist keeps parts of it.
// A connection that ends between packets gives io.EOF.
func readFrame(r io.Reader) ([]byte, error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxFrame {
		return nil, fmt.Errorf("%w: packet of %d bytes, want 1 to %d", errMalformed, n, maxFrame)
	}
	packet := make([]byte, n)
	if _, err := io.ReadFull(r, packet); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return packet, nil
}

package identity

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A frame is a 4-byte big-endian length and that many bytes of JSON.
const (
	frameHead     = 4
	maxFrameBytes = 32 << 10
)

// errFrame means that what came is not a join frame.
var errFrame = errors.New("not a join frame")

// writeFrame sends v in one write.
func writeFrame(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode join frame: %w", err)
	}
	if len(body) > maxFrameBytes {
		return fmt.Errorf("encode join frame: %d bytes, at most %d", len(body), maxFrameBytes)
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, frameHead+len(body)), uint32(len(body)))
	if _, err := w.Write(append(frame, body...)); err != nil {
		return fmt.Errorf("send join frame: %w", err)
	}
	return nil
}

// readFrame fills v, which is memory of at most maxFrameBytes whatever arrives.
func readFrame(r io.Reader, v any) error {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("read join frame: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxFrameBytes {
		return fmt.Errorf("read join frame: %w: length %d", errFrame, n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return fmt.Errorf("read join frame: %w", err)
	}
	if body[0] != '{' {
		return fmt.Errorf("read join frame: %w: no JSON object", errFrame)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("read join frame: %w: %w", errFrame, err)
	}
	return nil
}

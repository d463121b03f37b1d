package main

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"iter"
)

// pattern are n bytes that repeat every 61, a number that no buffer's size is a multiple
// of: what is lost or comes twice shows.
func pattern(n int) []byte {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ012345678"
	out := make([]byte, n)
	for i := range out {
		out[i] = letters[i%len(letters)]
	}
	return out
}

// chunksOf are n parts of p of about the same length; none is empty.
func chunksOf(p []byte, n int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		size := (len(p) + n - 1) / n
		for len(p) > 0 {
			part := p[:min(size, len(p))]
			p = p[len(part):]
			if !yield(part) {
				return
			}
		}
	}
}

// accepted is the answer that opens a WebSocket (RFC 6455 4.2.2).
func accepted(key string) []byte {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n")
}

// First bytes of frames: FIN and the opcode.
const (
	textFrame  = 0x81
	closeFrame = 0x88
	pingFrame  = 0x89
	pongFrame  = 0x8a
)

var errFrame = errors.New("this is no WebSocket frame that anybody here would send")

// frame is a WebSocket frame of at most 125 bytes.
type frame struct {
	first   byte
	payload []byte
}

// nextFrame reads one from the beginning of p, unmasks it in place, and says how long it
// was; 0: it is not whole.
func nextFrame(p []byte) (f frame, size int, err error) {
	if len(p) < 2 {
		return f, 0, nil
	}
	n, masked := int(p[1]&0x7f), p[1]&0x80 != 0
	if n > 125 {
		return f, 0, errFrame
	}
	at := 2
	if masked {
		at = 6
	}
	if len(p) < at+n {
		return f, 0, nil
	}
	f = frame{first: p[0], payload: p[at : at+n]}
	if masked {
		for i := range f.payload {
			f.payload[i] ^= p[2+i&3]
		}
	}
	return f, at + n, nil
}

// appendFrame appends a frame; that of a client is masked.
func appendFrame(out []byte, first byte, payload []byte, masked bool) []byte {
	if !masked {
		return append(append(out, first, byte(len(payload))), payload...)
	}
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	out = append(append(out, first, 0x80|byte(len(payload))), mask[:]...)
	for i, c := range payload {
		out = append(out, c^mask[i&3])
	}
	return out
}

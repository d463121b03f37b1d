package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestFrames(t *testing.T) {
	payload := pattern(messageBytes)
	for name, masked := range map[string]bool{"of a client": true, "of a server": false} {
		t.Run(name, func(t *testing.T) {
			text := appendFrame(appendFrame(nil, textFrame, payload, masked), pingFrame, nil, masked)
			whole := 2 + messageBytes
			if masked {
				whole += 4
			}
			for n := range whole {
				if _, size, err := nextFrame(text[:n]); size != 0 || err != nil {
					t.Fatalf("%d bytes of %d: taken as %d, %v", n, whole, size, err)
				}
			}
			f, size, err := nextFrame(text)
			if err != nil || size != whole || f.first != textFrame || !bytes.Equal(f.payload, payload) {
				t.Errorf("got %d bytes, %+v, %v", size, f, err)
			}
			if f, size, err = nextFrame(text[whole:]); err != nil || size != len(text)-whole || f.first != pingFrame || len(f.payload) != 0 {
				t.Errorf("the second one: %d bytes, %+v, %v", size, f, err)
			}
		})
	}
	if _, _, err := nextFrame([]byte{textFrame, 126, 1, 0}); err == nil {
		t.Error("a long frame was taken")
	}
}

// The example of RFC 6455 1.3.
func TestAccepted(t *testing.T) {
	if got := string(accepted("dGhlIHNhbXBsZSBub25jZQ==")); !strings.Contains(got, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n") {
		t.Error(got)
	}
}

func TestChunksOf(t *testing.T) {
	for _, size := range []int{0, 1, 15, 16, 17, 16 * kib} {
		var whole []byte
		n := 0
		for part := range chunksOf(pattern(size), 16) {
			if n++; len(part) == 0 {
				t.Errorf("%d bytes: an empty part", size)
			}
			whole = append(whole, part...)
		}
		if !bytes.Equal(whole, pattern(size)) || n > 16 || size%16 == 0 && size > 0 && n != 16 {
			t.Errorf("%d bytes: %d in %d parts", size, len(whole), n)
		}
	}
}

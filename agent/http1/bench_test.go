package http1

import (
	"bufio"
	"bytes"
	"net/http"
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

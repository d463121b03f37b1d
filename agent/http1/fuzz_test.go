package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// view is a request as another reader of the same bytes must see it.
type view struct {
	Method, URI, Host, Body string
	Minor                   int
	Length                  int64
	Close                   bool
	Header                  http.Header
	Rest                    string
}

// FuzzRequest: whatever is accepted, net/http reads the same: method, target, host,
// fields, body, and where the next request begins. And the cuts do not matter.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		browserHead, get + "\r\n", post + "Content-Length: 3\r\n\r\nabcGET", post + "Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\nGET",
		"GET http://a/b%20c?d HTTP/1.1\r\nHost: A\r\nConnection: close, x\r\n\r\n", "GET http://[::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
		"GET //a/%2f?%zz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "\r\n" + get + "X: \t y\t\r\nx:\r\n\r\n", "g!t /a;b=c?d=e|f HTTP/1.1\r\nHost: a_b\r\nPragma: no-cache\r\n\r\n",
		post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", get + "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00",
		post + "Expect: 100-continue\r\nContent-Length: 1\r\n\r\na", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 4096 {
			return
		}
		s, err := parseRequest(t, string(in), Limits{})
		if err != nil || s.N == 0 {
			return
		}
		ours, whole := ourView(t, in)
		theirs, e := theirView(bytes.TrimPrefix(in, []byte("\r\n")), whole)
		if e != nil {
			t.Fatalf("net/http does not accept %q: %v", in, e)
		}
		if s.Scheme != "" { // in absolute-form net/http takes the host from there, in its case
			theirs.Host = strings.ToLower(theirs.Host)
			ours.Host = strings.ToLower(ours.Host)
		}
		if diff := cmp.Diff(theirs, ours, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q: -net/http +http1:\n%s", in, diff)
		}
	})
}

// ourView reads through a Reader. It reports whether the body was whole; when it was
// not, neither body nor rest are compared.
func ourView(t *testing.T, in []byte) (v view, whole bool) {
	r := NewReader(&script{in: string(in), step: 11}, NewBuffers(Limits{}))
	q, err := r.ReadRequest()
	if err != nil {
		t.Fatalf("the Reader does not accept %q: %v", in, err)
	}
	v = view{Method: string(q.Method), URI: string(q.AppendTarget(nil)), Host: string(q.Host), Minor: int(q.Minor), Close: !q.KeepAlive, Header: http.Header{}}
	if v.Length = max(q.ContentLength, 0); q.Chunked {
		v.Length = -1
	}
	for _, p := range pairs(&q.Fields) {
		k := http.CanonicalHeaderKey(p[0])
		v.Header[k] = append(v.Header[k], p[1])
	}
	if v.Body, err = readAll(r); err != nil {
		v.Body = ""
		return v, false
	}
	rest, _ := io.ReadAll(r.conn)
	v.Rest = string(r.Buffered()) + string(rest)
	return v, true
}

func theirView(in []byte, whole bool) (v view, err error) {
	br := bufio.NewReaderSize(bytes.NewReader(in), 8<<10)
	q, err := http.ReadRequest(br)
	if err != nil {
		return v, err
	}
	v = view{Method: q.Method, URI: q.RequestURI, Host: q.Host, Minor: q.ProtoMinor, Length: q.ContentLength, Close: q.Close, Header: q.Header}
	if q.URL.Scheme != "" {
		if v.URI = q.URL.EscapedPath(); v.URI == "" {
			v.URI = "/"
		}
		if q.URL.RawQuery != "" || q.URL.ForceQuery {
			v.URI += "?" + q.URL.RawQuery
		}
	}
	if len(q.TransferEncoding) > 0 { // it takes them out of the header
		v.Header["Transfer-Encoding"] = headerOf(in, "transfer-encoding")
	}
	for _, name := range []string{"Host", "Trailer"} {
		if values := headerOf(in, name); values != nil {
			v.Header[name] = values
		}
	}
	if c := headerOf(in, "cache-control"); c == nil {
		delete(v.Header, "Cache-Control") // it makes one from Pragma
	}
	if !whole {
		return v, nil
	}
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return v, err
	}
	rest, _ := io.ReadAll(br)
	v.Body, v.Rest = string(body), string(rest)
	return v, nil
}

// headerOf is an independent look at the raw lines.
func headerOf(in []byte, name string) (values []string) {
	head, _, _ := strings.Cut(string(in), "\r\n\r\n")
	for _, line := range strings.Split(head, "\r\n")[1:] {
		if k, v, _ := strings.Cut(line, ":"); strings.EqualFold(k, name) {
			values = append(values, strings.Trim(v, " \t"))
		}
	}
	return values
}

// FuzzResponse: whatever is accepted, net/http reads the same, but for what it does not
// tell apart.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 200\r\n\r\nabc", "HTTP/1.0 304 Not Modified\r\nConnection: keep-alive\r\n\r\n",
		"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
		"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, head bool) {
		if len(in) > 4096 {
			return
		}
		method := "GET"
		if head {
			method = "HEAD"
		}
		a, n, perr := parseResponse(t, string(in), method)
		if perr != nil || n == 0 {
			return
		}
		p, err := http.ReadResponse(bufio.NewReaderSize(bytes.NewReader(in), 8<<10), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("net/http does not accept %q: %v", in, err)
		}
		r := NewReader(&script{in: string(in), step: 11}, NewBuffers(Limits{}))
		if _, err = r.ReadResponse([]byte(method)); err != nil {
			t.Fatalf("the Reader does not accept %q: %v", in, err)
		}
		body, err := readAll(r)
		theirs, err2 := io.ReadAll(p.Body)
		switch {
		case p.StatusCode != a.Status || p.ProtoMinor != int(a.Minor):
			t.Errorf("%q: %d %d", in, p.StatusCode, p.ProtoMinor)
		case err == nil && (err2 != nil || string(theirs) != body):
			t.Errorf("%q: net/http read %q, %v, we %q", in, theirs, err2, body)
		case a.KeepAlive && a.Framing.Kind != UntilClose && p.Close:
			t.Errorf("%q: net/http would close", in)
		}
	})
}

// FuzzChunked: whatever is accepted, the decoder of net/http reads the same.
func FuzzChunked(f *testing.F) {
	for _, s := range []string{
		"3\r\nabc\r\n0\r\n\r\n", "0\r\n\r\n", "1;a=b\r\na\r\n00A\r\n0123456789\r\n0;x\r\nX: y\r\nHost: b\r\n\r\nGET", "5\r\n0\r\n\r\n\r\n0\r\n\r\n",
		"1\na\n0\n\n", "fffffffffffffff\r\na", "1 ;a\r\na\r\n0\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 8192 {
			return
		}
		d, err := decodeAll(t, Framing{Kind: Chunked}, string(in))
		if err != nil || !d.Done {
			return
		}
		br := bufio.NewReaderSize(bytes.NewReader(in), 16<<10)
		data, e := io.ReadAll(httputil.NewChunkedReader(br))
		if e != nil || string(data) != d.Data {
			t.Errorf("%q: net/http read %q, %v, we %q", in, data, e, d.Data)
		}
		if rest, _ := io.ReadAll(br); !strings.HasSuffix(string(rest), d.Rest) {
			t.Errorf("%q: net/http left %q, we %q", in, rest, d.Rest)
		}
	})
}

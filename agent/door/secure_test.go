package door

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// certificate makes one for app.example, and who trusts it.
func certificate(tb testing.TB) (tls.Certificate, *x509.CertPool) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app.example"}, DNSNames: []string{"app.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// securePair is two doors that speak TLS to users.
func securePair(tb testing.TB) (*pair, *x509.CertPool, net.Listener) {
	cert, pool := certificate(tb)
	redirect := listen(tb)
	first := true
	p := newPairWith(tb, func(c *Config) {
		c.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
		if first {
			c.Redirect, first = redirect, false
		}
		set := *c.Settings()
		set.HSTS = 24 * time.Hour
		c.Settings = func() *Settings { return &set }
	})
	return p, pool, redirect
}

func secureClient(p *pair, at int, pool *x509.CertPool, h2 bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(h2)
	protocols.SetHTTP1(!h2)
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "app.example", MinVersion: tls.VersionTLS12}, Protocols: protocols,
	}}
}

// Both protocols lead to the session's engine, at the door beside it and at another one.
func TestSecure(t *testing.T) {
	p, pool, _ := securePair(t)
	for _, h2 := range []bool{false, true} {
		for at := range p.users {
			client := secureClient(p, at, pool, h2)
			url := "https://" + p.users[at].Addr().String() + "/doc/sales"
			var cookie *http.Cookie
			for i := range 4 {
				r, err := http.NewRequest(http.MethodGet, url, nil)
				if err != nil {
					t.Fatal(err)
				}
				if cookie != nil {
					r.AddCookie(cookie)
				}
				resp, err := client.Do(r)
				if err != nil {
					t.Fatalf("door %d, HTTP/2 %v: %v", at, h2, err)
				}
				b, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 || string(b) != "ok" || (resp.ProtoMajor == 2) != h2 || resp.Header.Get(fieldHSTS) != "max-age=86400" {
					t.Errorf("door %d, HTTP/2 %v: %s %q %s %v", at, h2, resp.Status, b, resp.Proto, resp.Header)
				}
				switch set := resp.Cookies(); {
				case i == 0 && (len(set) != 1 || set[0].Name != "__Host-usher" || !set[0].Secure):
					t.Fatalf("door %d, HTTP/2 %v: cookies %v", at, h2, set)
				case i == 0:
					cookie = &http.Cookie{Name: set[0].Name, Value: set[0].Value}
				case len(set) != 0:
					t.Errorf("door %d, HTTP/2 %v: a known session got %v", at, h2, set)
				}
			}
			client.CloseIdleConnections()
		}
	}
	if n := len(p.doors[1].Sessions(nil)); n != 4 {
		t.Errorf("%d sessions, four browsers came", n)
	}
	p.doors[0].Close() // waits for requests to be counted
	if n := p.doors[0].metrics.total.requests.Load(); n != 8 {
		t.Errorf("%d requests counted at the first door", n)
	}
}

// Requests of one connection come beside each other.
func TestManyStreams(t *testing.T) {
	p, pool, _ := securePair(t)
	client := secureClient(p, 0, pool, true)
	defer client.CloseIdleConnections()
	var wait sync.WaitGroup
	for range 60 {
		wait.Go(func() {
			resp, err := client.Post("https://"+p.users[0].Addr().String()+"/doc/sales", "text/plain", strings.NewReader(strings.Repeat("x", 3000)))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if b, err := io.ReadAll(resp.Body); string(b) != "ok" || err != nil {
				t.Errorf("%s %q %v", resp.Status, b, err)
			}
		})
	}
	wait.Wait()
}

// A handshake that does not come to its end holds a connection no longer than a head; one
// that is none is refused.
func TestBadHandshakes(t *testing.T) {
	p, _, _ := securePair(t)
	c, err := net.Dial("tcp", p.users[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if b, err := io.ReadAll(c); strings.Contains(string(b), "200") || isTimeoutError(err) {
		t.Errorf("cleartext at a door that speaks TLS: %q, %v", b, err)
	}
	if _, err := tls.Dial("tcp", p.users[0].Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

func isTimeoutError(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

func TestRedirect(t *testing.T) {
	p, _, redirect := securePair(t)
	_, port, _ := net.SplitHostPort(p.users[0].Addr().String())
	for _, c := range []struct{ request, location string }{
		{"GET /doc/a%20b?q=1 HTTP/1.1\r\nHost: app.example:8080\r\nConnection: close\r\n\r\n", "https://app.example:" + port + "/doc/a%20b?q=1"},
		{"POST / HTTP/1.1\r\nHost: app.example\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", "https://app.example:" + port + "/"},
		{"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\nConnection: close\r\n\r\n", "https://[2001:db8::1]:" + port + "/"},
		{"GET / HTTP/1.0\r\n\r\n", ""},
		{"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", ""},
	} {
		conn, err := net.Dial("tcp", redirect.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, c.request)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		_ = conn.Close()
		want := http.StatusPermanentRedirect
		if c.location == "" {
			want = http.StatusBadRequest
		}
		if resp.StatusCode != want || resp.Header.Get("Location") != c.location {
			t.Errorf("%q: %s to %q", c.request, resp.Status, resp.Header.Get("Location"))
		}
	}
}

// What could not be written in HTTP/1.1 in one way only does not come by HTTP/2 either.
func TestRewritten(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"plain":                func(*http.Request) {},
		"cookie and TE":        func(r *http.Request) { r.Header.Set("Cookie", "a=b; c=d"); r.Header.Set("Te", "trailers") },
		"!line end in a value": func(r *http.Request) { r.Header["X-A"] = []string{"a\r\nTransfer-Encoding: chunked"} },
		"!line end in a name":  func(r *http.Request) { r.Header["X-A: b\r\nX-B"] = []string{"a"} },
		"!end of a head":       func(r *http.Request) { r.Header["X-A"] = []string{"a\r\n\r\nGET / HTTP/1.1"} },
		"!space in a target":   func(r *http.Request) { r.RequestURI = "/ HTTP/1.1\r\nX: /" },
		"!space in a method":   func(r *http.Request) { r.Method = "GET /x" },
		"!asterisk":            func(r *http.Request) { r.RequestURI = "*" },
		"!another host":        func(r *http.Request) { r.Header["Host"] = []string{"b"} },
		"!no host":             func(r *http.Request) { r.Host = "" },
		"!host with a path":    func(r *http.Request) { r.Host = "a/b" },
		"!transfer coding":     func(r *http.Request) { r.Header["Transfer-Encoding"] = []string{"chunked"} },
		"!upgrade to websocket": func(r *http.Request) {
			r.Header["Connection"] = []string{"upgrade"}
			r.Header["Upgrade"] = []string{"websocket"}
		},
		"!CONNECT":  func(r *http.Request) { r.Method = "CONNECT" },
		"!NUL":      func(r *http.Request) { r.Header["X-A"] = []string{"a\x00"} },
		"!fragment": func(r *http.Request) { r.RequestURI = "/a#b" },
	} {
		r := httptest.NewRequest(http.MethodGet, "/case", nil)
		r.Host = "app"
		change(r)
		if bad := rewritten(r); (bad != nil) != strings.HasPrefix(name, "!") {
			t.Errorf("%s: %v", name, bad)
		}
	}
}

package door

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/transport/memnet"
)

// line is a header of version 1, block one of version 2.
func line(from string) string {
	a := netip.MustParseAddr(from)
	if a.Is4() {
		return "PROXY TCP4 " + from + " 198.51.100.1 51234 443\r\n"
	}
	return "PROXY TCP6 " + from + " 2001:db8::1 51234 443\r\n"
}

const blockStart = "\r\n\r\n\x00\r\nQUIT\n"

func block(from string) string {
	a := netip.MustParseAddr(from)
	b := []byte(blockStart + "\x21\x21")
	to := netip.MustParseAddr("2001:db8::1")
	if a.Is4() {
		b[len(b)-1], to = 0x11, netip.MustParseAddr("198.51.100.1")
	}
	b = binary.BigEndian.AppendUint16(b, uint16(2*len(a.AsSlice())+4+5))
	b = append(append(b, a.AsSlice()...), to.AsSlice()...)
	return string(b) + "\xc8\x22\x01\xbb" + "\x04\x00\x02ab"
}

// proxied is a site of doors behind proxies in 10.9.0.0/16, over TLS on port 443 where secure.
type proxied struct {
	*site
	pool *x509.CertPool
	log  bytes.Buffer
}

func proxiedBubble(t *testing.T, secure bool, f func(s *proxied)) {
	t.Helper()
	p := &proxied{}
	var cert tls.Certificate
	bubbleWith(t, 2, func(nd *node, c *Config) {
		c.ProxyProtocol = true
		if secure && p.pool == nil {
			cert, p.pool = certificate(t)
		}
		if secure {
			c.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
			var err error
			if c.Redirect, err = nd.host.Listen(context.Background(), "tcp", ":81"); err != nil {
				t.Fatal(err)
			}
		}
		if nd.name == "n0" {
			c.Log = zerolog.New(&p.log).Level(zerolog.WarnLevel)
		}
	}, func(s *site) {
		p.site = s
		s.change(func(c *Settings) { c.TrustedNetworks = prefixes("10.9.0.0/16") })
		f(p)
	})
}

// open connects to the first node and writes.
func (p *proxied) open(from *memnet.Host, port, first string) net.Conn {
	p.t.Helper()
	c, err := from.DialContext(context.Background(), "tcp", p.nodes[0].ip+port)
	if err != nil {
		p.t.Fatal(err)
	}
	_, _ = io.WriteString(c, first) // it may be closed already
	synctest.Wait()
	return c
}

// client keeps one connection to the first node, which begins with that header.
func (p *proxied) client(header string, h2 bool) *http.Client {
	tr := &http.Transport{MaxConnsPerHost: 1, Protocols: new(http.Protocols), DialContext: func(context.Context, string, string) (net.Conn, error) {
		return p.open(p.users, ":80", header), nil
	}}
	tr.Protocols.SetHTTP1(!h2)
	tr.Protocols.SetHTTP2(h2)
	if p.pool != nil {
		tr.TLSClientConfig = &tls.Config{RootCAs: p.pool, ServerName: "app.example", MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: tr}
}

// get asks with that cookie, if it is not nil, and gives what the engine saw, and the
// cookie that came.
func (p *proxied) get(c *http.Client, cookie *http.Cookie, fields ...string) (seen, *http.Cookie) {
	p.t.Helper()
	scheme := "http"
	if p.pool != nil {
		scheme = "https"
	}
	r, err := http.NewRequest(http.MethodGet, scheme+"://app.example/", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if cookie != nil {
		r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var s seen
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil || resp.StatusCode != 200 {
		p.t.Fatalf("%s %v", resp.Status, err)
	}
	for _, set := range resp.Cookies() {
		cookie = set
	}
	return s, cookie
}

// here is how many connections of an address are counted.
func (p *proxied) here(addr string) int {
	c := &p.nodes[0].door.census
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.perAddr[netip.MustParseAddr(addr)]
}

// refusals are how often the first node refused for that reason.
func (p *proxied) refusals(reason string) int {
	p.t.Helper()
	all, err := p.registry.Gather()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			if f.GetName() == "usher_door_refused_total" && m.GetLabel()[0].GetValue() == reason {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	return 0
}

// ended reads to the end and gives what came, and when.
func ended(t *testing.T, c net.Conn) (string, time.Duration) {
	t.Helper()
	began := time.Now()
	_ = c.SetReadDeadline(began.Add(time.Minute))
	b, err := io.ReadAll(c)
	if isTimeoutError(err) {
		t.Error("the connection stays open")
	}
	_ = c.Close()
	return string(b), time.Since(began)
}

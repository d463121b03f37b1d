package door

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/transport/memnet"
)

// Who a proxy says is asking is who is asking: for engines, the access log and the census,
// with every protocol, for all requests of a connection, on the short way too.
func TestProxiedUsers(t *testing.T) {
	for name, h2 := range map[string]bool{"cleartext": false, "TLS": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			proxiedBubble(t, name != "cleartext", func(p *proxied) {
				for _, from := range []string{"192.0.2.7", "2001:db8::7"} {
					for v, header := range map[int]string{1: line(from), 2: block(from)} {
						client := p.client(header, h2)
						before := p.expressed()
						var cookie *http.Cookie
						var s seen
						for i := range 4 {
							s, cookie = p.get(client, cookie, "X-Forwarded-For", "1.2.3.4", "X-Forwarded-Proto", "gopher")
							synctest.Wait() // the connection to the engine is back
							if got := s.Header["X-Forwarded-For"]; len(got) != 1 || got[0] != from || s.Header.Get("X-Real-Ip") != from {
								t.Errorf("version %d, request %d: the engine sees %v", v, i, s.Header)
							}
							if got := s.Header.Get("X-Forwarded-Proto"); (got == "https") != (p.pool != nil) {
								t.Errorf("version %d, request %d: by %s", v, i, got)
							}
						}
						if n := p.here(from); n != 1 || p.here("10.9.0.1") != 0 {
							t.Errorf("version %d: %d connections of %s are counted, %d of the proxy", v, n, from, p.here("10.9.0.1"))
						}
						want := 2.0 // the first opens the session, the second shows the cookie
						if h2 {
							want = 0
						}
						if n := p.expressed() - before; n != want {
							t.Errorf("version %d: %v requests went the short way", v, n)
						}
						p.change(func(c *Settings) { c.AccessLog = AccessAll })
						p.get(client, cookie)
						p.change(func(c *Settings) { c.AccessLog = AccessOff })
						synctest.Wait()
						if !strings.Contains(p.access.String(), `"client":"`+from+`"`) {
							t.Errorf("access log: %s", p.access.String())
						}
						p.access.Reset()
						client.CloseIdleConnections()
						synctest.Wait()
						time.Sleep(time.Second)
						if n := p.here(from); n != 0 {
							t.Errorf("version %d: %d connections are counted in the end", v, n)
						}
					}
				}
				if p.log.Len() > 0 {
					t.Error(p.log.String())
				}
			})
		})
	}
}

// What stands behind the header in the same segment is the client's.
func TestProxiedAtOnce(t *testing.T) {
	proxiedBubble(t, false, func(p *proxied) {
		for _, header := range []string{line("192.0.2.7"), block("192.0.2.7")} {
			c := p.open(p.users, ":80", header+"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			if b, _ := ended(t, c); !strings.HasPrefix(b, "HTTP/1.1 200 ") {
				t.Errorf("%q", b)
			}
		}
	})
}

// X-Forwarded-* is believed of a stated source that is trusted itself, and of the proxy's own
// connections; not where the proxy does not know who is asking.
func TestProxiedTrust(t *testing.T) {
	for _, c := range []struct{ name, header, peer, user string }{
		{"a user", line("192.0.2.7"), "192.0.2.7", "192.0.2.7"},
		{"a user, version 2", block("192.0.2.7"), "192.0.2.7", "192.0.2.7"},
		{"a proxy behind the proxy", line("10.9.7.7"), "203.0.113.5, 10.9.7.7", "203.0.113.5"},
		{"the proxy itself", blockStart + "\x20\x00\x00\x00", "203.0.113.5, 10.9.0.1", "203.0.113.5"},
		{"the proxy itself, with addresses", strings.Replace(block("192.0.2.7"), "\x21", "\x20", 1), "203.0.113.5, 10.9.0.1", "203.0.113.5"},
		{"nobody knows", "PROXY UNKNOWN\r\n", "10.9.0.1", "10.9.0.1"},
		{"nobody knows, with addresses", "PROXY UNKNOWN 1.1.1.1 2.2.2.2 3 4\r\n", "10.9.0.1", "10.9.0.1"},
		{"nobody knows, version 2", blockStart + "\x21\x00\x00\x00", "10.9.0.1", "10.9.0.1"},
		{"a Unix socket", blockStart + "\x21\x31\x00\xd8" + strings.Repeat("x", 216), "10.9.0.1", "10.9.0.1"},
	} {
		for _, way := range []string{"cleartext", "TLS", "HTTP/2"} {
			proxiedBubble(t, way != "cleartext", func(p *proxied) {
				client := p.client(c.header, way == "HTTP/2")
				var s seen
				var cookie *http.Cookie
				for i := range 3 { // the last one by the short way
					s, cookie = p.get(client, cookie, "X-Forwarded-For", "203.0.113.5")
					if got := s.Header.Get("X-Forwarded-For"); got != c.peer || s.Header.Get("X-Real-Ip") != c.user {
						t.Errorf("%s, %s, request %d: the engine sees %q, %q", c.name, way, i, got, s.Header.Get("X-Real-Ip"))
					}
				}
				client.CloseIdleConnections()
			})
		}
	}
}

// Nobody is served, or answered, without a header from a trusted network.
func TestProxiedRefused(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	for _, secure := range []bool{false, true} {
		proxiedBubble(t, secure, func(p *proxied) {
			strange := p.net.Host("strange", "10.8.0.1")
			for _, c := range []struct {
				name, first, reason string
				from                *memnet.Host
			}{
				{"HTTP without a header", get, "proxy_protocol_missing", p.users},
				{"TLS without a header", "\x16\x03\x01\x00\xf0\x01\x00\x00\xec\x03\x03", "proxy_protocol_missing", p.users},
				{"rubbish", "\x00\x01\x02", "proxy_protocol_missing", p.users},
				{"no address", "PROXY TCP4 1.2.3.4 5.6.7.8.9 1 2\r\n" + get, "proxy_protocol_malformed", p.users},
				{"too large", blockStart + "\x21\x11\xff\xff" + strings.Repeat("x", 70000), "proxy_protocol_malformed", p.users},
				{"from elsewhere", line("192.0.2.7") + get, "proxy_protocol_untrusted", strange},
				{"from elsewhere, a trusted source", line("10.9.0.1") + get, "proxy_protocol_untrusted", strange},
				{"from elsewhere, without a header", get, "proxy_protocol_untrusted", strange},
				{"from elsewhere, nothing", "", "proxy_protocol_untrusted", strange},
			} {
				ports := []string{":80"}
				if secure {
					ports = append(ports, ":81")
				}
				for _, port := range ports {
					before := p.refusals(c.reason)
					b, took := ended(t, p.open(c.from, port, c.first))
					if b != "" || took > 0 {
						t.Errorf("%s at %s: %q after %s", c.name, port, b, took)
					}
					if n := p.refusals(c.reason) - before; n != 1 {
						t.Errorf("%s at %s: %d counted as %s", c.name, port, n, c.reason)
					}
				}
			}
			if n := p.nodes[0].door.census.count(); n != 0 {
				t.Errorf("%d connections are counted", n)
			}
			if n := strings.Count(p.log.String(), "\n"); n != 3 {
				t.Errorf("%d lines for three reasons:\n%s", n, p.log.String())
			}
			p.log.Reset()
			time.Sleep(time.Minute)
			ended(t, p.open(strange, ":80", ""))
			if got := p.log.String(); !strings.Contains(got, `"client":"10.8.0.1","code":"proxy_protocol_untrusted"`) || !strings.Contains(got, `"repeated":`) || !strings.Contains(got, "door.trusted_networks") {
				t.Errorf("a minute later: %s", got)
			}
		})
	}
}

// A header that does not come to its end in the time of a head ends its connection, however
// busy it seems. Who only looks whether the port is open is no fault.
func TestProxiedSlow(t *testing.T) {
	proxiedBubble(t, true, func(p *proxied) {
		nothing := p.open(p.users, ":80", "")
		if b, took := ended(t, nothing); b != "" || took < headTimeout || took > headTimeout+time.Second+500*time.Millisecond {
			t.Errorf("nothing: %q after %s", b, took)
		}
		drop := p.open(p.users, ":81", "PROXY TCP4 1")
		began := time.Now()
		for i := 0; ; i++ {
			time.Sleep(400 * time.Millisecond)
			if _, err := io.WriteString(drop, "1234567890 "[i%11:i%11+1]); err != nil {
				break
			}
			if time.Since(began) > time.Minute {
				t.Fatal("byte by byte: the connection stays open")
			}
		}
		if took := time.Since(began); took < headTimeout || took > headTimeout+2*time.Second {
			t.Errorf("byte by byte: ended after %s", took)
		}
		_ = drop.Close()
		if n := p.refusals("proxy_protocol_late"); n != 2 {
			t.Errorf("%d counted as late", n)
		}
		p.log.Reset()
		_ = p.open(p.users, ":80", "").Close()
		time.Sleep(10 * time.Second)
		if p.log.Len() > 0 {
			t.Errorf("a look: %s", p.log.String())
		}
	})
}

func TestProxiedRedirect(t *testing.T) {
	proxiedBubble(t, true, func(p *proxied) {
		c := p.open(p.users, ":81", block("192.0.2.7")+"GET /x HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n\r\n")
		defer c.Close()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != http.StatusPermanentRedirect || resp.Header.Get("Location") != "https://app.example:80/x" {
			t.Errorf("%+v %v", resp, err)
		}
	})
}

// The limit of one address is that of the users behind a proxy, not of the proxy.
func TestProxiedCensus(t *testing.T) {
	proxiedBubble(t, false, func(p *proxied) {
		p.change(func(c *Settings) { c.Traffic.MaxConnectionsPerAddress = 2 })
		const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
		var open []net.Conn
		status := func(header string) string {
			c := p.open(p.users, ":80", header+get)
			open = append(open, c)
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			b, _ := io.ReadAll(c)
			_, b2, _ := strings.Cut(string(b), " ")
			return b2[:min(3, len(b2))]
		}
		var got []string
		for _, from := range []string{"192.0.2.7", "192.0.2.7", "192.0.2.7", "192.0.2.8", "10.9.0.4", "10.9.0.4", "10.9.0.4"} {
			got = append(got, status(line(from)))
		}
		for range 3 {
			got = append(got, status(blockStart+"\x20\x00\x00\x00"))
		}
		for range 3 {
			got = append(got, status("PROXY UNKNOWN\r\n"))
		}
		for _, c := range open {
			_ = c.Close()
		}
		if fmt.Sprint(got) != "[200 200 429 200 200 200 200 200 200 200 200 200 429]" {
			t.Error(got)
		}
	})
}

// Behind the header the socket is what it was, so that what is done to sockets goes on being
// done, and nothing is allocated for a request.
func TestProxiedSocket(t *testing.T) {
	l := listen(t)
	out, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := (listener{Listener: l}).Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	c := in.(*clientConn)
	d := &Door{cfg: Config{ProxyProtocol: true, Settings: func() *Settings { return &Settings{TrustedNetworks: prefixes("127.0.0.0/8")} }}}
	_, _ = io.WriteString(out, line("192.0.2.7")+"GET")
	if err := d.introduce(c); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Direct().(*net.TCPConn); !ok || c.RemoteAddr().String() != "192.0.2.7:51234" {
		t.Errorf("%T of %s", c.Direct(), c.RemoteAddr())
	}
	var b [8]byte
	if n, err := c.Direct().Read(b[:]); string(b[:n]) != "GET" {
		t.Errorf("%q %v", b[:n], err)
	}
}

func TestProxiedAllocatesNothing(t *testing.T) {
	if raceOn {
		t.Skip("the race detector allocates")
	}
	p := newPairWith(t, func(c *Config) {
		set := *c.Settings()
		set.TrustedNetworks = prefixes("127.0.0.0/8")
		c.ProxyProtocol, c.Settings = true, func() *Settings { return &set }
	})
	for at, where := range []string{"remote", "local"} {
		v := p.visitorVia(t, at, block("192.0.2.7"))
		if n := testing.AllocsPerRun(2000, func() { v.visit() }); n > 0 {
			t.Errorf("%s: %v allocations for a request", where, n)
		}
	}
}

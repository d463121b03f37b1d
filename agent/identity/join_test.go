package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport"
)

func TestJoin(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		c := newCluster(t, testCluster, "paris")
		c.serve(l.ctx, l.server, &l.wg)
		cfg := l.config(c.token, "alpha")
		n, a, err := Join(l.ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		want := transport.Identity{Cluster: testCluster, Class: peer.ClassServer, ID: cfg.Pending.ID}
		if n.Identity != want || n.ClusterName != "paris" || a.ClusterName != "renamed" {
			t.Errorf("node %v in %q, now %q", n, n.ClusterName, a.ClusterName)
		}
		if diff := cmp.Diff([]string{"mind the gap"}, a.Warnings); diff != "" {
			t.Error(diff)
		}
		r := c.seen[0]
		if r.Name != "node-b" || r.Boot != 1 || !bytes.Equal(r.SealKey, cfg.Pending.SealKey.Public()) || !r.Time.Equal(time.Now()) {
			t.Errorf("request %v at %s", r, r.Time)
		}
		if err := l.dir.Save(n); err != nil {
			t.Fatal(err)
		}
		if back, err := l.dir.Load(); err != nil || !sameNode(n, back) {
			t.Errorf("load: %v", err)
		}
	})
}

// The answer is lost, the process dies, and comes back with the same key.
func TestJoinLostAnswer(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		c := newCluster(t, testCluster, "paris")
		c.serve(l.ctx, l.server, &l.wg)
		cfg := l.config(c.token, "alpha")
		whole := cfg.Dial
		cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			conn, err := whole(ctx, addr)
			return &deafConn{Conn: conn, until: func() bool { return c.requests() > 0 }}, err
		}
		ctx, cancel := context.WithTimeout(l.ctx, 500*time.Millisecond) // before the second try
		defer cancel()
		if _, _, err := Join(ctx, cfg); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("first life: %v", err)
		}
		if c.requests() != 1 {
			t.Fatalf("%d requests arrived", c.requests())
		}
		n, _, err := Join(l.ctx, l.config(c.token, "alpha"))
		if err != nil {
			t.Fatal(err)
		}
		if len(c.keys) != 1 || c.requests() != 2 {
			t.Errorf("%d requests with %d keys: the token counts %d machines", c.requests(), len(c.keys), len(c.keys))
		}
		if n.Identity.ID != cfg.Pending.ID {
			t.Errorf("came back as %s, was %s", n.Identity.ID, cfg.Pending.ID)
		}
	})
}

func (c *cluster) requests() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen)
}

// deafConn loses what arrives once until holds, and the connection with it.
type deafConn struct {
	net.Conn
	until func() bool
}

func (d *deafConn) Read(p []byte) (int, error) {
	n, err := d.Conn.Read(p)
	if d.until() {
		return 0, io.EOF
	}
	return n, err
}

func TestJoinEndsAtOnce(t *testing.T) {
	for _, code := range []JoinCode{JoinWrongCluster, JoinBadToken, JoinExpired, JoinUsedUp, JoinRevoked, JoinNameTaken, JoinClockSkew, JoinUpgrade, JoinBadRequest, JoinRemoved, "of_the_future"} {
		t.Run(string(code), func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				c := newCluster(t, testCluster, "paris")
				c.refuse = []*JoinError{{Code: code, Message: "no", Next: "do something"}}
				c.serve(l.ctx, l.server, &l.wg)
				_, _, err := Join(l.ctx, l.config(c.token, "alpha"))
				refused, ok := errors.AsType[*JoinError](err)
				if !ok || refused.Code != code || !strings.Contains(err.Error(), "no: do something") {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

func TestJoinRetries(t *testing.T) {
	passing := map[string]func(l *lab, c *cluster){
		"refused": func(l *lab, c *cluster) {
			l.wg.Go(func() {
				time.Sleep(time.Minute)
				c.serve(l.ctx, l.server, &l.wg)
			})
		},
		"black hole": func(l *lab, c *cluster) {
			c.serve(l.ctx, l.server, &l.wg)
			l.net.Cut(l.server, l.joiner)
			l.wg.Go(func() {
				time.Sleep(time.Minute)
				l.net.HealAll()
			})
		},
		"no quorum, then an error inside": func(l *lab, c *cluster) {
			c.refuse = []*JoinError{{Code: JoinNoQuorum, Message: "no leader"}, {Code: JoinInternal, Message: "disk"}}
			c.serve(l.ctx, l.server, &l.wg)
		},
		"not TLS": func(l *lab, c *cluster) {
			impostor(l, func(conn net.Conn) { _, _ = conn.Write([]byte("220 mail.example ESMTP\r\n")) }, c)
		},
		"TLS without our protocol": func(l *lab, c *cluster) {
			impostor(l, func(conn net.Conn) {
				_ = tls.Server(conn, port(c.node.Chain, c.node, "h2")).Handshake()
			}, c)
		},
		"closes": func(l *lab, c *cluster) { impostor(l, func(net.Conn) {}, c) },
		"closes after the request": func(l *lab, c *cluster) {
			impostor(l, func(conn net.Conn) {
				var r JoinRequest
				_ = readFrame(tls.Server(conn, port(c.node.Chain, c.node, string(transport.ProtoJoin))), &r)
			}, c)
		},
		"never answers": func(l *lab, c *cluster) {
			impostor(l, func(conn net.Conn) {
				_, _ = io.Copy(io.Discard, tls.Server(conn, port(c.node.Chain, c.node, string(transport.ProtoJoin))))
			}, c)
		},
	}
	for name, arrange := range passing {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				c := newCluster(t, testCluster, "paris")
				cfg := l.config(c.token, "alpha")
				arrange(l, c)
				if _, _, err := Join(l.ctx, cfg); err != nil {
					t.Fatal(err)
				}
				if len(l.said) == 0 || !strings.Contains(l.said[0], "10.0.0.1:14747: ") {
					t.Errorf("people were told %q", l.said)
				}
				failures := slices.DeleteFunc(l.said, func(s string) bool { return strings.HasPrefix(s, "not joined yet") })
				slices.Sort(failures)
				if once := slices.Compact(slices.Clone(failures)); len(once) != len(failures) {
					t.Errorf("the same failure was told twice: %q", failures)
				}
			})
		})
	}
}

// One server of two is dead, and the other one moves while we try.
func TestJoinManyAddresses(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		c := newCluster(t, testCluster, "paris")
		gamma := l.net.Host("gamma", "10.0.0.3")
		cfg := l.config(c.token, "nowhere", "10.0.0.9", "gamma:14747")
		l.wg.Go(func() {
			time.Sleep(20 * time.Second)
			gamma.SetIP("10.0.0.33")
			c.serve(l.ctx, gamma, &l.wg)
		})
		if _, _, err := Join(l.ctx, cfg); err != nil {
			t.Fatal(err)
		}
		all := strings.Join(l.said, "\n")
		for _, want := range []string{"nowhere:14747: look up nowhere", "10.0.0.9:14747: ", "10.0.0.3:14747: ", "trying again in"} {
			if !strings.Contains(all, want) {
				t.Errorf("people were not told %q:\n%s", want, all)
			}
		}
	})
}

func TestJoinGivesUpWithItsContext(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		c := newCluster(t, testCluster, "paris")
		ctx, cancel := context.WithTimeout(l.ctx, time.Minute)
		defer cancel()
		start := time.Now()
		_, _, err := Join(ctx, l.config(c.token, "alpha", "beta"))
		if took := time.Since(start); took != time.Minute {
			t.Errorf("took %s", took)
		}
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(fmt.Sprint(err), "10.0.0.1:14747: ") {
			t.Errorf("the error does not say what was last: %v", err)
		}
	})
}

func TestJoinRefusesItsConfig(t *testing.T) {
	j, _ := testTokens(t)
	p := testPending(t, testID)
	p.TokenID = j.ID()
	good := JoinConfig{Addrs: []string{"alpha"}, Token: j, Pending: p, Request: goldenRequest(t)}
	for name, change := range map[string]func(*JoinConfig){
		"no address":        func(c *JoinConfig) { c.Addrs = nil },
		"malformed address": func(c *JoinConfig) { c.Addrs = []string{"alpha", "a:b:c"} },
		"no token":          func(c *JoinConfig) { c.Token = JoinToken{} },
		"no keys":           func(c *JoinConfig) { c.Pending = Pending{} },
		"another token":     func(c *JoinConfig) { c.Pending.TokenID = "zzzzzzzz" },
		"malformed name":    func(c *JoinConfig) { c.Request.Name = "Node B" },
		"no advertise":      func(c *JoinConfig) { c.Request.Advertise = "" },
	} {
		cfg := good
		change(&cfg)
		if _, _, err := Join(t.Context(), cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := newJoiner(good); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestParseTarget(t *testing.T) {
	for addr, want := range map[string]string{
		"alpha":               "alpha:14747",
		"alpha:99":            "alpha:99",
		"10.0.0.1":            "10.0.0.1:14747",
		"10.0.0.1:99":         "10.0.0.1:99",
		"::1":                 "[::1]:14747",
		"[::1]":               "[::1]:14747",
		"[2001:db8::1]:99":    "[2001:db8::1]:99",
		"":                    "",
		":99":                 "",
		"alpha:":              "",
		"alpha:0":             "",
		"a:b:c":               "",
		"https://alpha:14747": "",
		"alpha/x":             "",
		"0.0.0.0":             "",
		"a b":                 "",
	} {
		got, err := parseTarget(addr)
		if want == "" && err == nil || want != "" && (err != nil || got.String() != want) {
			t.Errorf("%q: %s, %v, want %q", addr, got, err, want)
		}
	}
}

func TestJoinPause(t *testing.T) {
	for round, most := range []time.Duration{1, 2, 4, 8, 15, 15, 15} {
		most *= time.Second
		if low, high := joinPause(round, 0), joinPause(round, uint64(most/2)); low != most/2 || high != most {
			t.Errorf("round %d: %s to %s, want half of %s to all of it", round, low, high, most)
		}
	}
	if d := joinPause(1000, 1<<63); d < joinPauseMost/2 || d > joinPauseMost {
		t.Errorf("round 1000: %s", d)
	}
}

package admin

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// forge makes a well-formed token with the ID of another and a different secret.
func checkToken(v fsm.View, text string, now time.Time) (caller, string) {
	return new(proven).check(v, text, now)
}

func forge(t testing.TB, token string) string {
	t.Helper()
	enc := base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
	cut := strings.LastIndexByte(token, '_') + 1
	head := token[:cut]
	body, err := enc.DecodeString(token[cut:])
	if err != nil {
		t.Fatal(err)
	}
	secret := body[:len(body)-4]
	secret[0] ^= 1
	sum := sha256.Sum256(append([]byte("usher token check sum\x00"+head), secret...))
	return head + enc.EncodeToString(append(secret, sum[:4]...))
}

func TestCheckToken(t *testing.T) {
	tr := newTruth()
	tok := tr.seed(t)
	cases := []struct {
		name, token, why string
		role             fsm.Role
	}{
		{"admin", tok.admin, "", fsm.RoleAdmin},
		{"viewer", tok.viewer, "", fsm.RoleViewer},
		{"white space around", " " + tok.viewer + "\n", "", fsm.RoleViewer},
		{"empty", "", wrongToken, ""},
		{"truncated", tok.admin[:20], wrongToken, ""},
		{"unknown", tok.unknown, wrongToken, ""},
		{"wrong secret", forge(t, tok.admin), wrongToken, ""},
		{"wrong secret of a revoked one", forge(t, tok.revoked), wrongToken, ""},
		{"revoked", tok.revoked, oldToken, ""},
		{"expired", tok.expired, oldToken, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			who, why := checkToken(tr.fsm.View(), c.token, tr.Now())
			if why != c.why || who.role != c.role {
				t.Errorf("role %q, why %q; want %q, %q", who.role, why, c.role, c.why)
			}
			if who.role != "" && who.kind != fsm.ActorToken {
				t.Errorf("kind %v", who.kind)
			}
		})
	}
}

func TestAuthorizationHeader(t *testing.T) {
	r := newRig(t)
	cases := []struct {
		name, header string
		status       int
	}{
		{"bearer", "Bearer " + r.tok.viewer, 200},
		{"any case of the scheme", "bearer " + r.tok.viewer, 200},
		{"basic", "Basic " + r.tok.viewer, 401},
		{"bare token", r.tok.viewer, 401},
		{"two tokens", "Bearer " + r.tok.viewer + " " + r.tok.viewer, 401},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := r.do(context.Background(), n1, originTCP, request{method: "GET", path: "/v1/whoami", header: map[string]string{"Authorization": c.header}})
			if got.status != c.status {
				t.Errorf("status %d, want %d: %s", got.status, c.status, got.body)
			}
		})
	}
}

func TestTooManyWrongTokens(t *testing.T) {
	r := newRig(t)
	ask := func(token string) reply {
		return r.do(context.Background(), n1, originTCP, request{method: "GET", path: "/v1/status", token: token})
	}
	for i := range guessesPerMinute {
		if got := ask(r.tok.unknown); got.status != http.StatusUnauthorized {
			t.Fatalf("guess %d: %d", i+1, got.status)
		}
	}
	got := ask(r.tok.unknown)
	if p := got.problem(t); got.status != http.StatusTooManyRequests || p.Code != CodeTooMany || got.header.Get("Retry-After") == "" {
		t.Fatalf("guess %d: %d %s", guessesPerMinute+1, got.status, got.body)
	}
	if got := ask(r.tok.viewer); got.status != http.StatusOK {
		t.Errorf("a right token after that: %d", got.status)
	}
	r.tr.advance(guessWindow)
	if got := ask(r.tok.unknown); got.status != http.StatusUnauthorized {
		t.Errorf("a minute later: %d", got.status)
	}
}

func TestLimiterIsBounded(t *testing.T) {
	now := epoch()
	l := newLimiter(func() time.Time { return now })
	for i := range 3 * maxGuessers {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		l.failed(netip.AddrPortFrom(a, 1).String())
		now = now.Add(time.Millisecond)
	}
	if len(l.table) > maxGuessers {
		t.Errorf("%d addresses are kept", len(l.table))
	}
	for range guessesPerMinute {
		l.failed("[2001:db8::1]:5")
	}
	if l.failed("[2001:db8::2]:5") == 0 {
		t.Error("an address in the same /64 is counted apart")
	}
	if l.failed("[2001:db8:1::2]:5") != 0 {
		t.Error("an address in another /64 is counted together")
	}
}

func TestRevokedWhileWaiting(t *testing.T) {
	r := newRig(t)
	v := r.tr.fsm.View()
	who, _ := checkToken(v, r.tok.viewer, r.tr.Now())
	if err := who.stillIn(v, r.tr.Now()); err != nil {
		t.Fatal(err)
	}
	r.tr.must(t, &fsm.RevokeToken{ID: who.id})
	if err := who.stillIn(r.tr.fsm.View(), r.tr.Now()); err == nil {
		t.Error("a revoked token is let on")
	}
}

func TestHosts(t *testing.T) {
	r := newRig(t)
	ip := r.node[n1].host.IP()
	cases := map[string]int{
		ip: 200, ip + ":14748": 200, "localhost": 200, "LocalHost:14748": 200, "127.0.0.1:1": 200, "[::1]:14748": 200, "alpha.example": 200, "ALPHA.example.:80": 200,
		"evil.example": 421, "alpha.example.evil": 421, "10.0.0.9": 421, "127.0.0.1.nip.io": 421, "localhost.evil": 421,
	}
	for host, want := range cases {
		got := r.do(context.Background(), n1, originTCP, request{method: "GET", path: "/v1/health", host: host})
		if got.status != want {
			t.Errorf("Host %s: %d, want %d", host, got.status, want)
		}
		if want == 421 && got.problem(t).Code != CodeWrongHost {
			t.Errorf("Host %s: %s", host, got.body)
		}
	}
}

func TestCrossOrigin(t *testing.T) {
	r := newRig(t)
	set := func(h map[string]string) reply {
		return r.admin(request{method: "PUT", path: "/v1/settings/log.level", body: `{"value":"debug"}`, header: h})
	}
	if got := set(map[string]string{"Sec-Fetch-Site": "cross-site"}); got.status != 403 || got.problem(t).Code != CodeCrossOrigin {
		t.Errorf("cross-site: %d", got.status)
	}
	if got := set(map[string]string{"Origin": "https://evil.example"}); got.status != 403 {
		t.Errorf("other origin: %d", got.status)
	}
	if got := set(map[string]string{"Sec-Fetch-Site": "same-origin"}); got.status != 200 {
		t.Errorf("same origin: %d %s", got.status, got.body)
	}
}

func TestMetricsAccess(t *testing.T) {
	for _, open := range []bool{false, true} {
		r := newRig(t, func(_ peer.ID, c *Config) { c.OpenMetrics = open })
		get := func(from origin, q request) int {
			q.method, q.path = "GET", "/metrics"
			return r.do(context.Background(), n1, from, q).status
		}
		if got := get(originTCP, request{}); got != 401 {
			t.Errorf("open %v: without a token from afar: %d", open, got)
		}
		if got := get(originTCP, request{token: r.tok.viewer}); got != 200 {
			t.Errorf("open %v: viewer: %d", open, got)
		}
		want := map[bool]int{false: 401, true: 200}[open]
		c := request{method: "GET", path: "/metrics", host: "127.0.0.1"}
		if got := r.loopback(n1, c); got.status != want {
			t.Errorf("open %v: from loopback: %d, want %d", open, got.status, want)
		}
	}
}

func FuzzToken(f *testing.F) {
	tr := newTruth()
	tok := tr.seed(f)
	for _, s := range []string{"", "Bearer", "Bearer " + tok.unknown, "bearer  x", "Basic eDp5", tok.admin, "Bearer usht_aaaaaaaa_"} {
		f.Add(s)
	}
	v, now := tr.fsm.View(), tr.Now()
	good := map[string]bool{tok.admin: true, tok.viewer: true, tok.operator: true}
	f.Fuzz(func(t *testing.T, header string) {
		text, given := bearer(http.Header{"Authorization": {header}})
		if !given {
			t.Fatal("a header that is there was not seen")
		}
		if _, why := checkToken(v, text, now); why == "" && !good[strings.TrimSpace(text)] {
			t.Fatalf("let in by %q", header)
		}
	})
}

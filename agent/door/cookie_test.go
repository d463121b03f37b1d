package door

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
)

func testSealer(keys ...Key) *sealer {
	return &sealer{keys: func() []Key { return keys }, random: &seqReader{n: 1}}
}

var (
	keyOne = Key{ID: 1, Key: [32]byte{1}}
	keyTwo = Key{ID: 2, Key: [32]byte{2}}
)

func testToken() token {
	return token{session: SessionID{9, 8, 7}, engine: peer.MakeEngineID(peer.ID(strings.Repeat("a", 16)), "app"), issued: time.Unix(1_800_000_000, 0), moves: 3}
}

func TestToken(t *testing.T) {
	text, err := testSealer(keyOne).seal(cookieName, testToken())
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := base64.RawURLEncoding.DecodeString(text)
	foreign, _ := testSealer(Key{ID: 1, Key: [32]byte{77}}).seal(cookieName, testToken())
	long := testToken()
	long.engine = peer.MakeEngineID(peer.ID(strings.Repeat("a", 16)), strings.Repeat("e", 63))
	longest, _ := testSealer(keyOne).seal(cookieName, long)
	flip := func(i int) string {
		b := slices.Clone(raw)
		b[i] ^= 1
		return base64.RawURLEncoding.EncodeToString(b)
	}
	cases := []struct {
		name   string
		keys   []Key
		cookie string
		text   string
		want   error
	}{
		{"good", []Key{keyOne}, cookieName, text, nil},
		{"newer key first", []Key{keyTwo, keyOne}, cookieName, text, nil},
		{"longest engine name", []Key{keyOne}, cookieName, longest, nil},
		{"key gone", []Key{keyTwo}, cookieName, text, errTokenKey},
		{"another cluster's, same key ID", []Key{keyOne}, cookieName, foreign, errTokenSeal},
		{"of another document", []Key{keyOne}, documentCookie("sales"), text, errTokenSeal},
		{"version", []Key{keyOne}, cookieName, flip(0), errTokenForm},
		{"key ID", []Key{keyOne}, cookieName, flip(8), errTokenKey},
		{"nonce", []Key{keyOne}, cookieName, flip(9), errTokenSeal},
		{"session", []Key{keyOne}, cookieName, flip(21), errTokenSeal},
		{"tag", []Key{keyOne}, cookieName, flip(len(raw) - 1), errTokenSeal},
		{"cut short", []Key{keyOne}, cookieName, text[:len(text)-6], errTokenSeal},
		{"too short", []Key{keyOne}, cookieName, text[:40], errTokenForm},
		{"oversized", []Key{keyOne}, cookieName, strings.Repeat("A", 4096), errTokenForm},
		{"not base64", []Key{keyOne}, cookieName, "!" + text[1:], errTokenForm},
		{"padded", []Key{keyOne}, cookieName, text + "=", errTokenForm},
		{"empty", []Key{keyOne}, cookieName, "", errTokenForm},
		{"no keys", nil, cookieName, text, errTokenKey},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, err := testSealer(c.keys...).open(c.cookie, c.text); err != c.want {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
	got, _ := testSealer(keyOne).open(cookieName, text)
	if diff := cmp.Diff(fmt.Sprint(testToken()), fmt.Sprint(got)); diff != "" {
		t.Errorf("token (-want +got):\n%s", diff)
	}
	if again, _ := testSealer(keyTwo, keyOne).seal(cookieName, testToken()); again == text {
		t.Error("the second key sealed")
	}
	if _, err := testSealer().seal(cookieName, testToken()); err != errNoKeys {
		t.Errorf("sealed without keys: %v", err)
	}
}

func TestSplitCookies(t *testing.T) {
	cases := []struct {
		name  string
		lines []string
		mine  []string
		rest  []string
	}{
		{"none of ours", []string{"a=b; c=d"}, nil, []string{"a=b; c=d"}},
		{"only ours", []string{"usher=x"}, []string{"usher=x"}, nil},
		{"first", []string{"usher=x; a=b;  c=d"}, []string{"usher=x"}, []string{"a=b;  c=d"}},
		{"middle", []string{"a=b; usher=x; c=\"d e\""}, []string{"usher=x"}, []string{"a=b; c=\"d e\""}},
		{"last", []string{"a=b;usher=x"}, []string{"usher=x"}, []string{"a=b"}},
		{"twice", []string{"usher=x; a=b; usher=y"}, []string{"usher=x", "usher=y"}, []string{"a=b"}},
		{"documents", []string{"usher-0123abcd=x; a=b"}, []string{"usher-0123abcd=x"}, []string{"a=b"}},
		{"under TLS", []string{"__Host-usher=x; __Host-usher-0123abcd=y"}, []string{"usher=x", "usher-0123abcd=y"}, nil},
		{"names that only look like ours", []string{"ushers=1; usher-1=2; usher-0123ABCD=3; xusher=4; Usher=5; __Secure-usher=6"}, nil,
			[]string{"ushers=1; usher-1=2; usher-0123ABCD=3; xusher=4; Usher=5; __Secure-usher=6"}},
		{"our name in a value", []string{"a=usher=x; b=usher"}, nil, []string{"a=usher=x; b=usher"}},
		{"no value", []string{"usher; a=b"}, []string{"usher="}, []string{"a=b"}},
		{"several lines", []string{"a=b", "usher=x", "c=d; usher=y"}, []string{"usher=x", "usher=y"}, []string{"a=b", "c=d"}},
		{"odd spacing kept", []string{"a=b ;\tc=d;; usher=x ; e"}, []string{"usher=x"}, []string{"a=b ;\tc=d;; e"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			mine, rest := splitCookies(c.lines)
			var got []string
			for _, m := range mine {
				got = append(got, m.base+"="+m.value)
			}
			if diff := cmp.Diff(c.mine, got); diff != "" {
				t.Errorf("ours (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.rest, rest); diff != "" {
				t.Errorf("rest (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCookieFields(t *testing.T) {
	cases := []struct {
		name string
		jar  cookieJar
		want string
	}{
		{"cleartext", cookieJar{false, http.SameSiteLaxMode}, "usher=v; Path=/; HttpOnly; SameSite=Lax"},
		{"TLS", cookieJar{true, http.SameSiteStrictMode}, "__Host-usher=v; Path=/; HttpOnly; Secure; SameSite=Strict"},
		{"none under TLS", cookieJar{true, http.SameSiteNoneMode}, "__Host-usher=v; Path=/; HttpOnly; Secure; SameSite=None"},
		{"none in cleartext is not possible", cookieJar{false, http.SameSiteNoneMode}, "usher=v; Path=/; HttpOnly; SameSite=Lax"},
	}
	for _, c := range cases {
		if got := c.jar.set(cookieName, "v"); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := (cookieJar{true, http.SameSiteLaxMode}).clear(cookieName); !strings.Contains(got, "__Host-usher=; ") || !strings.Contains(got, "Max-Age=0") {
		t.Errorf("clear: %q", got)
	}
}

// Cookies that are no good open a new session, and none reaches the engine.
func TestCookiesAtTheDoor(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, _ := s.bound()
		defer b.leaveConnections()
		good := b.cookies[cookieName]
		for name, value := range map[string]string{
			"tampered":  good[:30] + "A" + good[31:],
			"foreign":   strings.Repeat("B", len(good)),
			"oversized": strings.Repeat("C", 5000),
			"empty":     "",
		} {
			b.cookies = map[string]string{cookieName: value, "theirs": "kept"}
			n := s.sessions()
			a := b.ok(s.nodes[0], "/")
			if s.sessions() != n+1 || b.cookies[cookieName] == value {
				t.Errorf("%s: no new session", name)
			}
			if got := a.seen.Header["Cookie"]; !slices.Equal(got, []string{"theirs=kept"}) {
				t.Errorf("%s: the engine saw %q", name, got)
			}
		}
		// Over TLS, as a trusted proxy says, the cookie of cleartext does not count.
		s.change(func(c *Settings) { c.TrustedNetworks = prefixes("10.9.0.0/16") })
		b.cookies = map[string]string{cookieName: good}
		a := b.ok(s.nodes[0], "/", "X-Forwarded-Proto", "https")
		set := a.header.Get("Set-Cookie")
		if !strings.HasPrefix(set, "__Host-usher=") || !strings.Contains(set, "; Secure") {
			t.Errorf("set over TLS: %q", set)
		}
		if a.seen.Header["Cookie"] != nil {
			t.Errorf("the engine saw %q", a.seen.Header["Cookie"])
		}
	})
}

func FuzzToken(f *testing.F) {
	s := testSealer(keyTwo, keyOne)
	text, _ := s.seal(cookieName, testToken())
	f.Add(text)
	f.Add("")
	f.Add(strings.Repeat("A", maxTokenText))
	f.Fuzz(func(t *testing.T, in string) {
		got, err := s.open(cookieName, in)
		if err == nil && (in != text || got.engine != testToken().engine) {
			t.Errorf("%q was opened as %+v", in, got)
		}
	})
}

func FuzzSplitCookies(f *testing.F) {
	for _, s := range []string{"a=b; usher=x; c=d", "usher", ";;usher=;", "__Host-usher-0123abcd=1;x", " a=b", "usher =x; \tusher=y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		mine, rest := splitCookies([]string{line})
		if len(rest) > 1 {
			t.Fatalf("%d lines of one", len(rest))
		}
		if len(mine) == 0 && (len(rest) != 1 || rest[0] != line) {
			t.Fatalf("%q became %q though nothing was taken", line, rest)
		}
		// Every pair that is not ours is there, byte for byte and in order.
		var want []string
		for _, p := range strings.Split(line, ";") {
			name, _, _ := strings.Cut(p, "=")
			if _, _, ok := ours(strings.Trim(name, " \t")); !ok {
				want = append(want, p)
			}
		}
		if len(mine) > 0 && len(want) > 0 {
			want[0] = strings.TrimLeft(want[0], " \t")
		}
		joined := strings.Join(want, ";")
		got := ""
		if len(rest) == 1 {
			got = rest[0]
		}
		if got != joined {
			t.Fatalf("%q became %q, want %q", line, got, joined)
		}
		if again, _ := splitCookies(rest); len(again) != 0 {
			t.Fatalf("of %q ours are left: %q", line, rest)
		}
	})
}

package identity

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func testTokens(t testing.TB) (JoinToken, APIToken) {
	t.Helper()
	j, err := NewJoinToken(stream(1), [32]byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewAPIToken(stream(2))
	if err != nil {
		t.Fatal(err)
	}
	return j, a
}

func TestTokensGolden(t *testing.T) {
	j, a := testTokens(t)
	golden(t, "tokens.golden", fmt.Appendf(nil, "join %s\nid   %s\nhash %x\n\napi  %s\nid   %s\nhash %x\n",
		j.Reveal(), j.ID(), j.Hash(), a.Reveal(), a.ID(), a.Hash()))
}

func TestParseTokens(t *testing.T) {
	j, a := testTokens(t)
	flip := func(s string, i int) string {
		c := byte('a')
		if s[i] == c {
			c = 'b'
		}
		return s[:i] + string(c) + s[i+1:]
	}
	jt, at := j.Reveal(), a.Reveal()
	cases := []struct {
		name string
		text string
		api  bool
		want error
		says string
	}{
		{"join", jt, false, nil, ""},
		{"api", at, true, nil, ""},
		{"white space around", " \n" + jt + "\r\n", false, nil, ""},
		{"api where join is needed", at, false, ErrTokenKind, "this is an API token"},
		{"join where api is needed", jt, true, ErrTokenKind, "this is a join token"},
		{"something else", "hunter2", false, ErrTokenKind, `begins with "ushj_"`},
		{"empty", "", false, ErrTokenTruncated, "empty"},
		{"part of the prefix", "ush", false, ErrTokenTruncated, "3 of 104"},
		{"one short", jt[:len(jt)-1], false, ErrTokenTruncated, "103 of 104"},
		{"half", jt[:50], false, ErrTokenTruncated, "50 of 104"},
		{"api one short", at[:len(at)-1], true, ErrTokenTruncated, "58 of 59"},
		{"too long", jt + "a", false, ErrTokenForm, "105 characters"},
		{"broken over lines", jt[:40] + "\n" + jt[40:], false, ErrTokenForm, "one line"},
		{"upper case", "ushj_" + strings.ToUpper(jt[5:]), false, ErrTokenForm, "a-z"},
		{"id changed", flip(jt, 6), false, ErrTokenCheckSum, "copy it again"},
		{"secret changed", flip(jt, 20), false, ErrTokenCheckSum, "copy it again"},
		{"fingerprint changed", flip(jt, 80), false, ErrTokenCheckSum, "copy it again"},
		{"check sum changed", flip(jt, len(jt)-3), false, ErrTokenCheckSum, "copy it again"},
		{"api changed", flip(at, 20), true, ErrTokenCheckSum, "copy it again"},
		{"no underscore", jt[:13] + "a" + jt[14:], false, ErrTokenForm, "ID_PAYLOAD"},
		{"strange character", jt[:20] + "1" + jt[21:], false, ErrTokenForm, "a-z"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got string
			var err error
			if c.api {
				var tok APIToken
				tok, err = ParseAPIToken(c.text)
				got = tok.Reveal()
			} else {
				var tok JoinToken
				tok, err = ParseJoinToken(c.text)
				got = tok.Reveal()
			}
			if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if err == nil {
				if got != strings.TrimSpace(c.text) {
					t.Errorf("reads back as %q", got)
				}
				return
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %q does not say %q", err, c.says)
			}
			if strings.Contains(err.Error(), jt[20:40]) || strings.Contains(err.Error(), at[20:40]) {
				t.Errorf("error shows the secret: %v", err)
			}
		})
	}
}

// Every other spelling of the last character decodes to the same bytes in base32.
func TestOneTextPerToken(t *testing.T) {
	j, _ := testTokens(t)
	text, accepted := j.Reveal(), 0
	for _, c := range "abcdefghijklmnopqrstuvwxyz234567" {
		if _, err := ParseJoinToken(text[:len(text)-1] + string(c)); err == nil {
			accepted++
		}
	}
	if accepted != 1 {
		t.Errorf("%d spellings are accepted", accepted)
	}
}

func TestTokenMatchHash(t *testing.T) {
	j, a := testTokens(t)
	jh, ah := j.Hash(), a.Hash()
	if !j.MatchHash(jh[:]) || !a.MatchHash(ah[:]) {
		t.Error("a token does not match its own hash")
	}
	if j.MatchHash(ah[:]) || j.MatchHash(jh[:31]) || j.MatchHash(nil) || a.MatchHash(nil) {
		t.Error("a token matches what is not its hash")
	}
	zero := hashSecret(joinPrefix, nil)
	if (JoinToken{}).MatchHash(zero[:]) || (JoinRequest{}).MatchHash(zero[:]) {
		t.Error("no token matches the hash of no secret")
	}
	if !(JoinRequest{Secret: j.secret.bytes()}).MatchHash(jh[:]) {
		t.Error("the request's secret does not match")
	}
	if hashSecret(joinPrefix, []byte("x")) == hashSecret(apiPrefix, []byte("x")) {
		t.Error("join and API tokens share a domain")
	}
	if (JoinToken{}).Reveal() != "" || (APIToken{}).Reveal() != "" {
		t.Error("the zero token reveals something")
	}
}

// Nothing secret shows with any verb, also deep inside of other values.
func TestPrintingShowsNoSecret(t *testing.T) {
	j, a := testTokens(t)
	dk, err := NewDataKey(stream(3))
	if err != nil {
		t.Fatal(err)
	}
	rk, err := NewRecoveryKey(stream(4))
	if err != nil {
		t.Fatal(err)
	}
	ca := testCA(t, testCluster, "paris", testTime())
	n := testNode(t, ca, testPending(t, testID), "server", testTime())
	request := JoinRequest{Secret: j.secret.bytes(), TokenID: j.id}
	key, err := pemPrivate(n.Key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parsePEM(key, pemKey)
	if err != nil {
		t.Fatal(err)
	}
	nodeKey, err := parseKey(parsed[0])
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := nodeKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name   string
		value  any
		secret []byte
	}{
		{"join token", j, j.secret.bytes()},
		{"join token, nested", struct{ t JoinToken }{j}, j.secret.bytes()},
		{"join token, pointer", &j, j.secret.bytes()},
		{"api token", a, a.secret.bytes()},
		{"api token, nested", struct{ t []APIToken }{[]APIToken{a}}, a.secret.bytes()},
		{"data key", dk, dk[:]},
		{"recovery key", rk, rk.seed.bytes()},
		{"recovery key, nested", struct{ k RecoveryKey }{rk}, rk.seed.bytes()},
		{"seal key", n.SealKey, n.SealKey.key().Bytes()},
		{"node", n, scalar},
		{"pending", n.Pending(), scalar},
		{"join request", request, j.secret.bytes()},
		{"join config", JoinConfig{Token: j, Request: request, Pending: n.Pending()}, j.secret.bytes()},
	}
	for _, c := range cases {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			out := fmt.Sprintf(verb, c.value)
			for _, form := range []string{"%x", "%X", "%d", "%#v", "%s", "%q"} {
				shown := strings.Trim(fmt.Sprintf(form, c.secret[:8]), `[]{}"`)
				shown = strings.TrimPrefix(shown, "byte{")
				shown = strings.TrimPrefix(shown, "uint8{")
				if strings.Contains(out, shown) {
					t.Errorf("%s with %s shows the secret: %s", c.name, verb, out)
				}
			}
		}
	}
	if text, err := dk.MarshalText(); err == nil {
		t.Errorf("a data key encodes as %q", text)
	}
}

func TestReadSecret(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	long := strings.Repeat("x", MaxSecretBytes+1)
	cases := []struct {
		name, file, value, stdin string
		want, says               string
	}{
		{"file", file("a", " from-file\n"), "", "", "from-file", ""},
		{"file before environment", file("b", "from-file"), "from-env", "", "from-file", ""},
		{"stdin", "-", "from-env", "from-stdin\r\n", "from-stdin", ""},
		{"environment", "", "from-env ", "from-stdin", "from-env", ""},
		{"just fits", file("c", long[1:]), "", "", long[1:], ""},
		{"nothing", "", " ", "x", "", "no secret"},
		{"empty file", file("d", " \n"), "from-env", "", "", "empty"},
		{"empty stdin", "-", "from-env", "", "", "empty"},
		{"too long", file("e", long), "", "", "", "over 4096 bytes"},
		{"stdin too long", "-", "", long, "", "over 4096 bytes"},
		{"no such file", filepath.Join(dir, "none"), "from-env", "", "", "none"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := ReadSecret(c.file, c.value, strings.NewReader(c.stdin))
			if got != c.want || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%.20q, %v", got, err)
			}
		})
	}
	endless := &endlessReader{}
	if _, err := ReadSecret("-", "", endless); err == nil || endless.given > 1<<16 {
		t.Errorf("took %d bytes of an endless file, %v", endless.given, err)
	}
	if _, err := ReadSecret("", "", nil); !errors.Is(err, ErrNoSecret) {
		t.Errorf("%v is not ErrNoSecret", err)
	}
}

// endlessReader gives up after 1 MiB for the sake of a test that fails.
type endlessReader struct{ given int }

func (r *endlessReader) Read(p []byte) (int, error) {
	if r.given > 1<<20 {
		return 0, io.EOF
	}
	r.given += len(p)
	return len(p), nil
}

package scrub

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

const recovery = "abcde-fghij-klmno-pqrst-uvwxy-z2345-67abc-defgh-ijklm-nopqr-stuvw-xyz23"

func TestForms(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"nothing", "a line about door.listen and seven tokens\n", "a line about door.listen and seven tokens\n"},
		{"api token", `token usht_abcdefgh_secretsecret!`, "token (secret)!"},
		{"join token", `"ushj_abc-def_ghi"`, `"(secret)"`},
		{"recovery key", "key " + recovery + ".", "key (secret)."},
		{"recovery key in capitals, without dashes", strings.ToUpper(strings.ReplaceAll(recovery, "-", "")), "(secret)"},
		{"uuid", "0b7e3a52-6d0f-4a0e-9d3a-7e2c1f0a9b8c", "0b7e3a52-6d0f-4a0e-9d3a-7e2c1f0a9b8c"},
		{"fingerprint", strings.Repeat("ab12", 16), strings.Repeat("ab12", 16)},
		{"bearer", "Authorization: Bearer abc.def-ghi", "Authorization: Bearer (secret)"},
		{"password in url", "dial https://ada:pa:ss@example.org/x failed", "dial https://(secret)@example.org/x failed"},
		{"query in url", `Get "http://e:1/load?key=abc&x=1": refused`, `Get "http://e:1/load?(secret)": refused`},
		{"email", "mail ada@example.org", "mail ada@example.org"},
		{"json", `{"secret":"abc","n":1}`, `{"secret":"(secret)","n":1}`},
		{"json of several words", `{"engine_api_secret" : "a b \n c", "n":1}`, `{"engine_api_secret" : "(secret)", "n":1}`},
		{"json in json", `{"m":"{\"password\":\"abc\",\"n\":1}"}`, `{"m":"{\"password\":\"(secret)\",\"n\":1}"}`},
		{"cookie", `{"Set-Cookie":"usher=abc"}`, `{"Set-Cookie":"(secret)"}`},
		{"flag", "usher --api-key=abc --x=1", "usher --api-key=(secret) --x=1"},
		{"path of a secret", "secret_file: /etc/usher/engine.secret", "secret_file: /etc/usher/engine.secret"},
		{"pem", "a\n-----BEGIN EC PRIVATE KEY-----\nMIG\nxyz\n-----END EC PRIVATE KEY-----\nb", "a\n(secret)\nb"},
		{"pem that was cut", "-----BEGIN PRIVATE KEY-----\nMIG", "(secret)"},
		{"certificate", "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := New().Text(c.in); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestLiterals(t *testing.T) {
	secret := []byte("hunter2 is not a good secret\x00\xff")
	s := New(append(secret, '\n'), []byte("ab"), []byte("-----BEGIN X-----\nline-of-a-key\n-----END X-----\n"))
	for name, form := range map[string]string{
		"itself": string(secret), "hex": hex.EncodeToString(secret), "base64": base64.StdEncoding.EncodeToString(secret),
		"base64 with its line break": base64.StdEncoding.EncodeToString(append(secret, '\n')), "a line of a key": "line-of-a-key",
	} {
		if got := s.Text("<" + form + ">"); got != "<"+Mark+">" {
			t.Errorf("%s: %q", name, got)
		}
		if !s.Found([]byte("\x00\x01" + form)) {
			t.Errorf("%s is not found", name)
		}
	}
	if got := s.Text("about"); got != "about" {
		t.Errorf("a literal that is too short was taken out: %q", got)
	}
	if s.Found([]byte("nothing of it")) {
		t.Error("found what is not there")
	}
}

func FuzzScrub(f *testing.F) {
	f.Add("usht_abc_def", `{"secret":"x"}`)
	f.Add("-----BEGIN PRIVATE KEY-----", "https://a:b@c?d")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "planted-secret-value"
		s := New([]byte(secret))
		once := s.Text(before + secret + after)
		if strings.Contains(once, secret) {
			t.Errorf("%q", once)
		}
		if strings.Contains(s.Text(once), secret) {
			t.Error("the second time brings it back")
		}
	})
}

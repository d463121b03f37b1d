package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func testDataKey(t testing.TB, seed byte) DataKey {
	t.Helper()
	dk, err := NewDataKey(stream(seed))
	if err != nil {
		t.Fatal(err)
	}
	return dk
}

func TestDataKeySeal(t *testing.T) {
	dk, other := testDataKey(t, 1), testDataKey(t, 2)
	sealed, err := dk.Seal(stream(9), "ca.key", []byte("plain"))
	if err != nil {
		t.Fatal(err)
	}
	if len(sealed) != 12+5+16 || bytes.Contains(sealed, []byte("plain")) {
		t.Errorf("sealed as %x", sealed)
	}
	golden(t, "sealed.golden", fmt.Appendf(nil, "%x\n", sealed))
	plain, err := dk.Open("ca.key", sealed)
	if err != nil || string(plain) != "plain" {
		t.Fatalf("opened %q, %v", plain, err)
	}
	cases := []struct {
		name   string
		key    DataKey
		as     string
		sealed []byte
	}{
		{"another key", other, "ca.key", sealed},
		{"another name", dk, "cookie.key", sealed},
		{"cut short", dk, "ca.key", sealed[:len(sealed)-1]},
		{"nothing", dk, "ca.key", nil},
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 0x80
		cases = append(cases, cases[0])
		last := &cases[len(cases)-1]
		last.name, last.key, last.sealed = fmt.Sprintf("byte %d changed", i), dk, changed
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got, err := c.key.Open(c.as, c.sealed); !errors.Is(err, ErrSealed) || got != nil {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestDataKeyGuards(t *testing.T) {
	if _, err := (DataKey{}).Seal(stream(1), "x", nil); err == nil {
		t.Error("the zero key sealed")
	}
	if _, err := (DataKey{}).Open("x", make([]byte, 64)); err == nil {
		t.Error("the zero key opened")
	}
	if _, err := testDataKey(t, 1).Seal(strings.NewReader("short"), "x", nil); err == nil {
		t.Error("sealed without a nonce")
	}
	if _, err := Wrap(make([]byte, 32), DataKey{}, "x"); err == nil {
		t.Error("the zero key was wrapped")
	}
	if out, err := json.Marshal(map[string]any{"k": testDataKey(t, 1)}); err == nil {
		t.Errorf("a data key became JSON: %s", out)
	}
}

func TestWrap(t *testing.T) {
	dk := testDataKey(t, 1)
	mine, err := NewSealKey(stream(2))
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewSealKey(stream(3))
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := Wrap(mine.Public(), dk, "key 7")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := mine.Unwrap(wrapped, "key 7"); err != nil || got != dk {
		t.Fatalf("unwrapped %v, %v", got == dk, err)
	}
	long, err := sealTo(mine.Public(), wrapDomain+"key 7", make([]byte, 33))
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(wrapped)
	changed[len(changed)-1] ^= 1
	for name, try := range map[string]func() (DataKey, error){
		"another key":   func() (DataKey, error) { return other.Unwrap(wrapped, "key 7") },
		"no key":        func() (DataKey, error) { return SealKey{}.Unwrap(wrapped, "key 7") },
		"another info":  func() (DataKey, error) { return mine.Unwrap(wrapped, "key 8") },
		"changed":       func() (DataKey, error) { return mine.Unwrap(changed, "key 7") },
		"cut short":     func() (DataKey, error) { return mine.Unwrap(wrapped[:20], "key 7") },
		"nothing":       func() (DataKey, error) { return mine.Unwrap(nil, "key 7") },
		"not a key":     func() (DataKey, error) { return mine.Unwrap(long, "key 7") },
		"recovery seal": func() (DataKey, error) { s, _ := SealTo(mine.Public(), "key 7", dk[:]); return mine.Unwrap(s, "key 7") },
	} {
		if got, err := try(); !errors.Is(err, ErrSealed) || got != (DataKey{}) {
			t.Errorf("%s: %v, %v", name, got == dk, err)
		}
	}
	if _, err := Wrap([]byte("short"), dk, "x"); err == nil {
		t.Error("wrapped to a malformed public key")
	}
	if (SealKey{}).Public() != nil {
		t.Error("the zero key has a public half")
	}
}

func TestRecoveryKey(t *testing.T) {
	rk, err := NewRecoveryKey(stream(5))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "recovery.golden", fmt.Appendf(nil, "%s\npublic %x\n", rk.Reveal(), rk.Public()))
	other, err := NewRecoveryKey(stream(6))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := SealTo(rk.Public(), "snapshot", []byte("state"))
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseRecoveryKey(rk.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := back.Open("snapshot", sealed); err != nil || string(plain) != "state" {
		t.Errorf("%q, %v", plain, err)
	}
	if _, err := other.Open("snapshot", sealed); !errors.Is(err, ErrSealed) {
		t.Errorf("another key: %v", err)
	}
	if _, err := back.Open("other", sealed); !errors.Is(err, ErrSealed) {
		t.Errorf("another purpose: %v", err)
	}
	if _, err := (RecoveryKey{}).Open("snapshot", sealed); !errors.Is(err, ErrSealed) || (RecoveryKey{}).Reveal() != "" {
		t.Errorf("the zero key: %v", err)
	}
}

func TestParseRecoveryKey(t *testing.T) {
	rk, err := NewRecoveryKey(stream(5))
	if err != nil {
		t.Fatal(err)
	}
	text := rk.Reveal()
	swapped := text[:1] + text[2:3] + text[1:2] + text[3:]
	last := byte('a')
	if text[len(text)-1] == last {
		last = 'b'
	}
	j, _ := testTokens(t)
	cases := []struct {
		name, text string
		want       error
		says       string
	}{
		{"as printed", text, nil, ""},
		{"upper case", strings.ToUpper(text), nil, ""},
		{"without dashes", strings.ReplaceAll(text, "-", ""), nil, ""},
		{"over two lines", " " + strings.Replace(text, "-", "\r\n", 1) + "\n", nil, ""},
		{"zero for o, eight for b", strings.NewReplacer("o", "0", "b", "8").Replace(text), nil, ""},
		{"two swapped", swapped, ErrRecoveryCheckSum, "compare"},
		{"last changed", text[:len(text)-1] + string(last), ErrRecoveryCheckSum, "compare"},
		{"cut short", text[:len(text)-1], ErrRecoveryForm, "59 of 60"},
		{"too long", text + "a", ErrRecoveryForm, "61 of 60"},
		{"a one", "1" + text[1:], ErrRecoveryForm, "'1' in group 1"},
		{"a join token", j.Reveal(), ErrRecoveryForm, "this is a token"},
		{"empty", "", ErrRecoveryForm, "0 of 60"},
		{"endless", strings.Repeat("a", 1<<20), ErrRecoveryForm, "1024"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseRecoveryKey(c.text)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %q does not say %q", err, c.says)
			}
			if err == nil && got.Reveal() != text {
				t.Errorf("reads back as %q", got.Reveal())
			}
		})
	}
}

package identity

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func FuzzParseJoinToken(f *testing.F) {
	j, a := testTokens(f)
	for _, s := range []string{j.Reveal(), a.Reveal(), j.Reveal()[:60], "ushj_", "ushj_abcdefgh_", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := ParseJoinToken(text)
		checkTokenParse(t, text, tok.Reveal(), tok.ID(), err)
	})
}

func FuzzParseAPIToken(f *testing.F) {
	j, a := testTokens(f)
	for _, s := range []string{a.Reveal(), j.Reveal(), a.Reveal()[:30], "usht_", "usht_abcdefgh_", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := ParseAPIToken(text)
		checkTokenParse(t, text, tok.Reveal(), tok.ID(), err)
	})
}

// checkTokenParse: what is accepted prints as it was read, what is refused says why
// in one of four ways.
func checkTokenParse(t *testing.T, text, reveal, id string, err error) {
	if err == nil {
		if reveal != strings.TrimSpace(text) || !validTokenID(id) {
			t.Errorf("%q reads back as %q", text, reveal)
		}
		return
	}
	for _, known := range []error{ErrTokenKind, ErrTokenTruncated, ErrTokenForm, ErrTokenCheckSum} {
		if errors.Is(err, known) {
			return
		}
	}
	t.Errorf("%q: unknown error %v", text, err)
}

func FuzzParseRecoveryKey(f *testing.F) {
	rk, err := NewRecoveryKey(stream(5))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{rk.Reveal(), strings.ToUpper(rk.Reveal()), rk.Reveal()[:30], "a-b c", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rk, err := ParseRecoveryKey(text)
		if err != nil {
			if !errors.Is(err, ErrRecoveryForm) && !errors.Is(err, ErrRecoveryCheckSum) {
				t.Errorf("%q: unknown error %v", text, err)
			}
			return
		}
		again, err := ParseRecoveryKey(rk.Reveal())
		if err != nil || !bytes.Equal(again.Public(), rk.Public()) {
			t.Errorf("%q reads back as %q, %v", text, rk.Reveal(), err)
		}
	})
}

// Frames from the network: no panic, bounded memory, and a request that passes the
// check survives a round trip.
func FuzzJoinRequestFrame(f *testing.F) {
	var good bytes.Buffer
	if err := writeFrame(&good, goldenRequest(f)); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		var r JoinRequest
		if readFrame(bytes.NewReader(frame), &r) != nil || r.check() != nil {
			return
		}
		var out bytes.Buffer
		if err := writeFrame(&out, r); err != nil {
			t.Fatalf("a checked request does not encode: %v", err)
		}
		var again JoinRequest
		if err := readFrame(&out, &again); err != nil || again.check() != nil {
			t.Errorf("does not survive a round trip: %v", err)
		}
	})
}

func FuzzJoinReplyFrame(f *testing.F) {
	for _, r := range []joinReply{{Answer: goldenAnswer()}, {Error: goldenError()}} {
		var b bytes.Buffer
		if err := writeFrame(&b, r); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	ca := testCA(f, testCluster, "paris", testTime())
	p := testPending(f, testID)
	f.Fuzz(func(t *testing.T, frame []byte) {
		var r joinReply
		if readFrame(bytes.NewReader(frame), &r) != nil || r.Answer == nil {
			return
		}
		if _, err := verifyAnswer(p, JoinRequest{Class: "server"}, ca.cert, *r.Answer); err == nil {
			t.Error("an answer without our key was accepted")
		}
	})
}

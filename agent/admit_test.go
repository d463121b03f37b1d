package agent

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// TestCheckJoin asks to be let in with one thing wrong at a time.
func TestCheckJoin(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	drawn := bytes.Repeat([]byte{7}, 64) // where the token takes its ID and its secret from
	token, err := identity.NewJoinToken(bytes.NewReader(drawn), [32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	hash := token.Hash()
	view := joinView(t, now, fsm.JoinToken{ID: token.ID(), Hash: hash[:], Uses: 1, Expires: fsm.StampOf(now.Add(time.Hour))})
	csr := func() []byte {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	good := identity.JoinRequest{TokenID: token.ID(), Secret: drawn[:20], CSR: csr(), Time: now, FeatureLevel: fsm.FeatureLevel}
	for _, c := range []struct {
		name   string
		change func(*identity.JoinRequest)
		at     time.Time
		code   identity.JoinCode // "": it may join
	}{
		{"as it should be", func(*identity.JoinRequest) {}, now, ""},
		{"another secret", func(r *identity.JoinRequest) { r.Secret = make([]byte, 20) }, now, identity.JoinBadToken},
		{"no secret", func(r *identity.JoinRequest) { r.Secret = nil }, now, identity.JoinBadToken},
		{"another token", func(r *identity.JoinRequest) { r.TokenID = "kkkk" }, now, identity.JoinBadToken},
		{"no key", func(r *identity.JoinRequest) { r.CSR = nil }, now, identity.JoinBadRequest},
		{"an old token", func(r *identity.JoinRequest) { r.Time = now.Add(time.Hour) }, now.Add(time.Hour), identity.JoinExpired},
		{"a clock that is ahead", func(r *identity.JoinRequest) { r.Time = now.Add(maxClockSkew + time.Second) }, now, identity.JoinClockSkew},
		{"a clock that is behind", func(r *identity.JoinRequest) { r.Time = now.Add(-maxClockSkew - time.Second) }, now, identity.JoinClockSkew},
		{"a clock that is nearly right", func(r *identity.JoinRequest) { r.Time = now.Add(maxClockSkew) }, now, ""},
		{"an older usher", func(r *identity.JoinRequest) { r.FeatureLevel = fsm.FeatureLevel - 1 }, now, identity.JoinUpgrade},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := good
			c.change(&r)
			a := &Agent{self: selfID, now: func() time.Time { return c.at }}
			var code identity.JoinCode
			if refused := a.checkJoin(view, r); refused != nil {
				code = refused.Code
			}
			if code != c.code {
				t.Errorf("%q, want %q", code, c.code)
			}
		})
	}
}

// joinView is a cluster with a join token.
func joinView(t *testing.T, now time.Time, token fsm.JoinToken) fsm.View {
	t.Helper()
	f := fsm.New(fsm.Options{})
	b, err := fsm.Encode(&fsm.InitCluster{
		UUID: "u", Name: "c", JoinToken: token, Token: fsm.Token{ID: "tttt"}, DataKey: fsm.DataKey{ID: 1},
		Node: fsm.Node{ID: selfID, Name: "n1", Class: peer.ClassServer, Weight: 100},
	})
	if err != nil {
		t.Fatal(err)
	}
	entry, err := fsm.EncodeEntry(fsm.Entry{Now: fsm.StampOf(now), Items: []fsm.Item{{ID: fsm.CommandID{1}, Command: b}}})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := f.Apply(entry); err != nil || res[0].Err() != nil {
		t.Fatal(err, res)
	}
	return f.View()
}

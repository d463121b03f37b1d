package identity

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
)

// goldenRequest is always the same; its CSR, which cannot be made anew with the same
// signature, is a file.
func goldenRequest(t testing.TB) JoinRequest {
	t.Helper()
	path := filepath.Join("testdata", "request.csr")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && *update {
		csr, err := testPending(t, testID).CSR()
		if err != nil {
			t.Fatal(err)
		}
		text = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	return JoinRequest{
		Version: JoinVersion, TokenID: "abcdefgh", Secret: bytes.Repeat([]byte{7}, joinSecretLen),
		NodeID: testID, Name: "node-a", Class: peer.ClassServer, CSR: block.Bytes,
		SealKey: bytes.Repeat([]byte{8}, sealKeyLen), Advertise: "10.0.0.2:14747", Door: "10.0.0.2:8080",
		Boot: 3, Nonce: []byte{1, 2, 3}, Time: testTime().Add(123456789 * time.Nanosecond),
		FeatureLevel: 1, UsherVersion: "1.0.0",
	}
}

func goldenAnswer() *JoinAnswer {
	return &JoinAnswer{
		ClusterID: testCluster, ClusterName: "paris", Chain: [][]byte{{1}, {2}}, Roots: [][]byte{{2}},
		NodeName: "node-a", Contacts: []string{"10.0.0.1:14747"}, Warnings: []string{"cannot dial back"},
	}
}

func goldenError() *JoinError {
	return &JoinError{Code: JoinExpired, Message: "the join token expired", Next: "make a new one"}
}

func TestFramesGolden(t *testing.T) {
	for name, v := range map[string]any{
		"join_request.golden.json": goldenRequest(t),
		"join_answer.golden.json":  joinReply{Answer: goldenAnswer()},
		"join_error.golden.json":   joinReply{Error: goldenError()},
	} {
		t.Run(name, func(t *testing.T) {
			var frame bytes.Buffer
			if err := writeFrame(&frame, v); err != nil {
				t.Fatal(err)
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, frame.Bytes()[frameHead:], "", "  "); err != nil {
				t.Fatal(err)
			}
			golden(t, name, append(pretty.Bytes(), '\n'))
		})
	}
	var r JoinRequest
	var frame bytes.Buffer
	if err := writeFrame(&frame, goldenRequest(t)); err != nil {
		t.Fatal(err)
	}
	if err := readFrame(&frame, &r); err != nil {
		t.Fatal(err)
	}
	// cmp.Diff would print by Format, which hides differences.
	if !cmp.Equal(goldenRequest(t), r) {
		t.Error("the request does not survive a round trip")
	}
}

func TestReadFrame(t *testing.T) {
	frame := func(n uint32, body string) string {
		return string([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + body
	}
	of := func(body string) string { return frame(uint32(len(body)), body) }
	cases := []struct {
		name, in string
		want     error
	}{
		{"unknown field", of(`{"token_id":"x","new":[1,{"a":2}]}`), nil},
		{"empty object", of(`{}`), nil},
		{"largest", of(`{"name":"` + strings.Repeat("a", maxFrameBytes-11) + `"}`), nil},
		{"one more", of(`{"name":"` + strings.Repeat("a", maxFrameBytes-10) + `"}`), errFrame},
		{"length zero", frame(0, ""), errFrame},
		{"length 4 GiB", frame(1<<32-1, "{}"), errFrame},
		{"nothing", "", io.EOF},
		{"half a head", "\x00\x00", io.ErrUnexpectedEOF},
		{"half a body", frame(10, "{}"), io.ErrUnexpectedEOF},
		{"no body", frame(10, ""), io.EOF},
		{"null", of(`null`), errFrame},
		{"array", of(`[]`), errFrame},
		{"two values", of(`{}{}`), errFrame},
		{"wrong type", of(`{"version":"one"}`), errFrame},
		{"HTTP", "GET / HTTP/1.1\r\n\r\n", errFrame},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var r JoinRequest
			if err := readFrame(strings.NewReader(c.in), &r); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
	if err := writeFrame(io.Discard, strings.Repeat("a", maxFrameBytes)); err == nil {
		t.Error("a frame over the limit was sent")
	}
}

func TestRequestCheck(t *testing.T) {
	forged := bytes.Clone(goldenRequest(t).CSR)
	forged[len(forged)-1] ^= 1
	cases := []struct {
		name   string
		change func(*JoinRequest)
		code   JoinCode
	}{
		{"good", func(*JoinRequest) {}, ""},
		{"edge", func(r *JoinRequest) { r.Class = peer.ClassEdge }, ""},
		{"no door", func(r *JoinRequest) { r.Door = "" }, ""},
		{"by name", func(r *JoinRequest) { r.Advertise = "Node_a.example:1" }, ""},
		{"IPv6", func(r *JoinRequest) { r.Advertise = "[2001:db8::1]:14747" }, ""},
		{"newer", func(r *JoinRequest) { r.Version = 2 }, JoinUpgrade},
		{"no version", func(r *JoinRequest) { r.Version = 0 }, JoinUpgrade},
		{"token id", func(r *JoinRequest) { r.TokenID = "ABC" }, JoinBadToken},
		{"secret", func(r *JoinRequest) { r.Secret = r.Secret[1:] }, JoinBadToken},
		{"node id", func(r *JoinRequest) { r.NodeID = "node" }, JoinBadRequest},
		{"node name", func(r *JoinRequest) { r.Name = "Node A" }, JoinBadRequest},
		{"class", func(r *JoinRequest) { r.Class = "king" }, JoinBadRequest},
		{"advertise without port", func(r *JoinRequest) { r.Advertise = "10.0.0.1" }, JoinBadRequest},
		{"advertise empty", func(r *JoinRequest) { r.Advertise = "" }, JoinBadRequest},
		{"advertise without host", func(r *JoinRequest) { r.Advertise = ":14747" }, JoinBadRequest},
		{"advertise any", func(r *JoinRequest) { r.Advertise = "0.0.0.0:14747" }, JoinBadRequest},
		{"advertise any, IPv6", func(r *JoinRequest) { r.Advertise = "[::]:14747" }, JoinBadRequest},
		{"advertise port zero", func(r *JoinRequest) { r.Advertise = "10.0.0.1:0" }, JoinBadRequest},
		{"advertise port by name", func(r *JoinRequest) { r.Advertise = "10.0.0.1:http" }, JoinBadRequest},
		{"advertise a URL", func(r *JoinRequest) { r.Advertise = "http://a:1" }, JoinBadRequest},
		{"advertise a newline", func(r *JoinRequest) { r.Advertise = "a\nb:1" }, JoinBadRequest},
		{"advertise too long", func(r *JoinRequest) { r.Advertise = strings.Repeat("a", 260) + ":1" }, JoinBadRequest},
		{"door", func(r *JoinRequest) { r.Door = "x" }, JoinBadRequest},
		{"CSR empty", func(r *JoinRequest) { r.CSR = nil }, JoinBadRequest},
		{"CSR too large", func(r *JoinRequest) { r.CSR = make([]byte, MaxCSRBytes+1) }, JoinBadRequest},
		{"CSR forged", func(r *JoinRequest) { r.CSR = forged }, JoinBadRequest},
		{"seal key", func(r *JoinRequest) { r.SealKey = nil }, JoinBadRequest},
		{"nonce", func(r *JoinRequest) { r.Nonce = make([]byte, 65) }, JoinBadRequest},
		{"no time", func(r *JoinRequest) { r.Time = time.Time{} }, JoinBadRequest},
		{"version with escape codes", func(r *JoinRequest) { r.UsherVersion = "\x1b[31m" }, JoinBadRequest},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := goldenRequest(t)
			c.change(&r)
			var got JoinCode
			if bad := r.check(); bad != nil {
				got = bad.Code
			}
			if got != c.code {
				t.Errorf("code %q, want %q", got, c.code)
			}
		})
	}
}

func TestKeyHashes(t *testing.T) {
	ca := testCA(t, testCluster, "paris", testTime())
	p := testPending(t, testID)
	n := testNode(t, ca, p, peer.ClassServer, testTime())
	csr, err := p.CSR()
	if err != nil {
		t.Fatal(err)
	}
	fromCSR, err1 := JoinRequest{CSR: csr}.KeyHash()
	fromPending, err2 := p.KeyHash()
	fromNode, err3 := n.KeyHash()
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(n.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	fromLeaf, err := keyHash(leaf.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if fromCSR != fromPending || fromNode != fromLeaf || fromCSR != fromLeaf {
		t.Error("the same key has different hashes")
	}
	if other, _ := testPending(t, testID).KeyHash(); other == fromLeaf {
		t.Error("different keys have the same hash")
	}
}

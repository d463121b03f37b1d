package backup

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testHeader() Header {
	return Header{
		ClusterID: "c0ffee", ClusterName: "sales", Revision: 812, AsOf: time.Unix(1, 0).UTC(), Taken: time.Unix(2, 0).UTC(),
		Node: "n1", Version: "1.2.3", FeatureLevel: 1, Rows: map[string]int{"settings": 3},
	}
}

// flip is a seal that a test can look through.
func flip(b []byte) ([]byte, error) {
	out := bytes.Clone(b)
	for i := range out {
		out[i] ^= 0x5a
	}
	return out, nil
}

func file(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, testHeader(), rand.Reader, flip)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(b []byte) (Header, []byte, error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return Header{}, nil, err
	}
	if err := r.Unlock(flip); err != nil {
		return Header{}, nil, err
	}
	content, err := io.ReadAll(r)
	return r.Header(), content, err
}

func verify(b []byte) error {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return err
	}
	return r.Verify()
}

func TestRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 3 * chunkSize} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			content := make([]byte, n)
			if _, err := rand.Read(content); err != nil {
				t.Fatal(err)
			}
			b := file(t, content)
			h, got, err := read(b)
			if err != nil || !bytes.Equal(got, content) {
				t.Fatalf("%d bytes back, %v", len(got), err)
			}
			if d := cmp.Diff(testHeader(), h); d != "" {
				t.Error(d)
			}
			if err := verify(b); err != nil {
				t.Errorf("verify: %v", err)
			}
			if n > 100 && bytes.Contains(b, content[:64]) {
				t.Error("the content stands in the clear")
			}
		})
	}
}

// TestEveryChange changes each byte, and cuts at each place: nothing of it goes through,
// with the key and without.
func TestEveryChange(t *testing.T) {
	content := bytes.Repeat([]byte("state "), 20)
	b := file(t, content)
	refused := func(what string, b []byte) {
		t.Helper()
		if _, _, err := read(b); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNoSnapshot) && !errors.Is(err, ErrNewer) {
			t.Errorf("%s: read: %v", what, err)
		}
		if err := verify(b); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNoSnapshot) && !errors.Is(err, ErrNewer) {
			t.Errorf("%s: verify: %v", what, err)
		}
	}
	for i := range b {
		changed := bytes.Clone(b)
		changed[i] ^= 1
		refused(fmt.Sprintf("byte %d", i), changed)
		refused(fmt.Sprintf("cut at %d", i), b[:i])
	}
	refused("more behind it", append(bytes.Clone(b), 0))
}

// TestChunks takes chunks away, repeats and swaps them and puts the sum right: the seal
// tells.
func TestChunks(t *testing.T) {
	content := make([]byte, 4*chunkSize)
	b := file(t, content)
	const sealed = 4 + chunkSize + 16
	body := len(b) - 32 - 4*sealed
	chunk := func(i int) []byte { return b[body+i*sealed : body+(i+1)*sealed] }
	for name, order := range map[string][]int{
		"the last is gone": {0, 1, 2}, "one is gone": {0, 2, 3}, "one comes twice": {0, 1, 1, 2, 3}, "two swapped": {0, 2, 1, 3}, "none": {},
	} {
		t.Run(name, func(t *testing.T) {
			out := bytes.Clone(b[:body])
			for _, i := range order {
				out = append(out, chunk(i)...)
			}
			out = withSum(out)
			if err := verify(out); err != nil {
				t.Fatalf("the sum is right, but: %v", err)
			}
			if _, got, err := read(out); !errors.Is(err, ErrDamaged) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

func withSum(b []byte) []byte {
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func TestOtherKey(t *testing.T) {
	r, err := NewReader(bytes.NewReader(file(t, []byte("x"))))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("a locked file was read")
	}
	if err := r.Unlock(func(b []byte) ([]byte, error) { return b, nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); !errors.Is(err, ErrDamaged) {
		t.Errorf("another key: %v", err)
	}
	wrong := errors.New("wrong key")
	if err := r.Unlock(func([]byte) ([]byte, error) { return nil, wrong }); !errors.Is(err, wrong) {
		t.Errorf("refused key: %v", err)
	}
}

func TestSourceFails(t *testing.T) {
	b := file(t, make([]byte, 3*chunkSize))
	broken := errors.New("the disk is gone")
	r, err := NewReader(io.MultiReader(bytes.NewReader(b[:chunkSize]), iotest.ErrReader(broken)))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(); !errors.Is(err, broken) {
		t.Errorf("verify: %v", err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("something else"))
	f.Add(file(f, []byte("state")))
	f.Add(file(f, make([]byte, chunkSize+5)))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, err := read(b)
		if verr := verify(b); err == nil && verr != nil {
			t.Errorf("it opens, but its sum is wrong: %v", verr)
		}
	})
}

package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRecorder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.jsonl")
	r, err := Open(path, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				r.Add(Op{Client: c, Kind: Write, Key: "k", Value: fmt.Sprint(c, i), Begin: r.Now(), End: r.Now(), Outcome: OK, Detail: strings.Repeat("é", 300)})
			}
		})
	}
	wg.Wait()
	if n := cap(r.buf); n > bufferBytes+maxLine {
		t.Errorf("the buffer grew to %d bytes", n)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	ops, cut, err := ReadFile(path)
	if err != nil || cut || len(ops) != 16_000 {
		t.Fatalf("%d operations, cut %v, error %v", len(ops), cut, err)
	}
	if r.Add(Op{}); r.dropped != 1 {
		t.Error("an operation after Close is not counted")
	}
	if _, err := Open(path, time.Now()); !errors.Is(err, os.ErrExist) {
		t.Errorf("an old history would be overwritten: %v", err)
	}
	if v := Check(Input{Path: path}).Verdicts[0]; v.Name != VerdictHistory || !v.Passed() || v.Checked != 16_000 {
		t.Errorf("%+v", v)
	}
}

// What the file does not take is an error at the end.
func TestRecorderFailure(t *testing.T) {
	r, err := Open(filepath.Join(t.TempDir(), "history.jsonl"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r.file.Close()
	for range 3 {
		r.Add(Op{Kind: Read, Outcome: OK})
		r.mu.Lock()
		r.flush()
		r.mu.Unlock()
	}
	if err := r.Close(); !errors.Is(err, os.ErrClosed) || !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestRead(t *testing.T) {
	whole := `{"c":1,"k":"write","key":"k","v":"a","b":1,"e":2,"o":"ok"}` + "\n"
	for _, tc := range []struct {
		name, text string
		ops        int
		cut        bool
		why        string
	}{
		{name: "empty"},
		{name: "two", text: whole + whole, ops: 2},
		{name: "cut", text: whole + whole[:20], ops: 1, cut: true},
		{name: "no JSON", text: whole + "nonsense\n", why: "line 2: no operation"},
		{name: "unknown field", text: `{"k":"write","x":1}` + "\n", why: "unknown field"},
		{name: "two on a line", text: whole[:len(whole)-1] + whole, why: "more than one"},
		{name: "unknown kind", text: `{"k":"wish","o":"ok"}` + "\n", why: `no kind "wish"`},
		{name: "unknown outcome", text: `{"k":"write","o":"fine"}` + "\n", why: `no outcome "fine"`},
		{name: "backwards", text: `{"k":"write","b":2,"e":1,"o":"ok"}` + "\n", why: "ends before"},
		{name: "negative", text: `{"k":"write","b":-2,"e":1,"o":"ok"}` + "\n", why: "ends before"},
		{name: "too long", text: `{"k":"write","e":99999999999999999,"o":"ok"}` + "\n", why: "a year"},
		{name: "revision", text: `{"k":"write","rev":18446744073709551615,"o":"ok"}` + "\n", why: "out of range"},
		{name: "a mark of nobody", text: `{"k":"lost","b":2}` + "\n", why: "needs a node"},
		{name: "a mark", text: `{"k":"back","n":"n1","b":2}` + "\n", ops: 1},
		{name: "a long line", text: strings.Repeat("x", maxLine+1) + "\n", why: "longer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ops, cut, err := ReadFrom(strings.NewReader(tc.text))
			var line *LineError
			switch {
			case tc.why == "" && (err != nil || len(ops) != tc.ops || cut != tc.cut):
				t.Errorf("%d operations, cut %v, error %v", len(ops), cut, err)
			case tc.why != "" && (!errors.As(err, &line) || !strings.Contains(err.Error(), tc.why)):
				t.Errorf("error %v, not %q", err, tc.why)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "cut.jsonl")
	if err := os.WriteFile(path, []byte(whole+"{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, path + ".absent"} {
		if v := Check(Input{Path: p}).Verdicts[0]; v.Passed() {
			t.Errorf("%s: %+v", p, v)
		}
	}
}

// FuzzRead: whatever is in the file, reading ends with operations that can be written and
// read again, or an error; and judging them ends.
func FuzzRead(f *testing.F) {
	ops, in := good()
	var b bytes.Buffer
	for _, o := range ops {
		line, err := json.Marshal(o)
		if err != nil {
			f.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"k":"lost","n":"n1","b":2}` + "\n{"))
	in.Limits.Solve = 100 * ms
	f.Fuzz(func(t *testing.T, text []byte) {
		ops, cut, err := ReadFrom(bytes.NewReader(text))
		if err != nil || len(ops) > 50 {
			return
		}
		var again bytes.Buffer
		for _, o := range ops {
			line, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			again.Write(append(line, '\n'))
		}
		if !cut && bytes.Count(text, []byte("\n")) != len(ops) {
			t.Errorf("%d lines became %d operations", bytes.Count(text, []byte("\n")), len(ops))
		}
		back, _, err := ReadFrom(&again)
		if err != nil || !slices.Equal(ops, back) {
			t.Errorf("%v: %s", err, cmp.Diff(ops, back))
		}
		Judge(ops, in)
	})
}

package builtin

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteDemoDocuments(t *testing.T) {
	dirs := []string{filepath.Join(t.TempDir(), "new"), t.TempDir(), t.TempDir()}
	for i, seed := range []uint64{1, 1, 2} {
		if err := WriteDemoDocuments(dirs[i], seed); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(Options{Dir: dirs[0], Name: "demo"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	total := 0
	for key, numeric := range map[string]int{"sales": 3, "inventory": 3, "flights": 2, "people": 2} {
		var b [3][]byte
		for i, dir := range dirs {
			if b[i], err = os.ReadFile(filepath.Join(dir, key+suffix)); err != nil {
				t.Fatal(err)
			}
		}
		total += len(b[0])
		if !bytes.Equal(b[0], b[1]) || bytes.Equal(b[0], b[2]) {
			t.Errorf("%s does not follow its seed", key)
		}
		tab, err := s.library.open(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(tab.numeric()); n != numeric || tab.Rows < 2000 || tab.Rows > 20_000 {
			t.Errorf("%s: %d columns of numbers, want %d; %d rows", key, n, numeric, tab.Rows)
		}
		if tab.Bytes > int64(3*len(b[0])) {
			t.Errorf("%s: %d bytes of memory for %d of text", key, tab.Bytes, len(b[0]))
		}
	}
	if total > 3_000_000 {
		t.Errorf("%d bytes together", total)
	}
	left, err := filepath.Glob(filepath.Join(dirs[0], ".demo-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	mine := filepath.Join(dirs[0], "sales.csv")
	if err := os.WriteFile(mine, []byte("mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteDemoDocuments(dirs[0], 1); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(mine); string(b) != "mine\n" {
		t.Error("a user's file was overwritten")
	}
}

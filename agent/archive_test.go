package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ushercluster/usher/fsm"
)

// rowsOf are lines as the archive writes them, of some revisions.
func rowsOf(revisions ...uint64) string {
	var b strings.Builder
	for _, r := range revisions {
		j, err := json.Marshal(line{Evicted: r, Audit: &fsm.Audit{}})
		if err != nil {
			panic(err)
		}
		b.Write(append(j, '\n'))
	}
	return b.String()
}

// counted is a file in memory that counts what is read of it.
type counted struct {
	*bytes.Reader
	read int
}

func (c *counted) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.Reader.ReadAt(b, off)
	c.read += n
	return n, err
}

func TestLastArchived(t *testing.T) {
	half := strings.TrimSuffix(rowsOf(9), "}\n")
	many := strings.Repeat(rowsOf(3), 8<<20/len(rowsOf(3)))
	for _, c := range []struct {
		name string
		file string
		last uint64
		torn int // bytes at the end that go
		read int // at most; 0: the whole file may be
	}{
		{"empty", "", 0, 0, 0},
		{"one row", rowsOf(4), 4, 0, 0},
		{"some rows", rowsOf(1, 2, 3), 3, 0, 0},
		{"half a row alone", half, 0, len(half), 0},
		{"half a row", rowsOf(1, 2) + half, 2, len(half), 0},
		{"a row without its end of line", rowsOf(1, 2) + strings.TrimSuffix(rowsOf(3), "\n"), 2, len(rowsOf(3)) - 1, 0},
		{"nonsense in a line", rowsOf(1, 2) + "\x00\x00\x00\n", 2, 0, 0},
		{"empty lines", rowsOf(5) + "\n\n", 5, 0, 0},
		{"a large file", many + rowsOf(8), 8, 0, archiveLook},
		{"a large file, torn", many + rowsOf(8) + half, 8, len(half), archiveLook},
		{"a large last row", many + rowsOf(8) + `{"evicted":9,"x":"` + strings.Repeat("y", 300<<10) + "\"}\n", 9, 0, 2 << 20},
		{"a large torn row", many + rowsOf(8) + strings.Repeat("y", 300<<10), 8, 300 << 10, 2 << 20},
		{"nothing of ours", strings.Repeat("y", 9<<20), 0, 0, 8 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &counted{Reader: bytes.NewReader([]byte(c.file))}
			last, torn, err := lastArchived(f, f.Size())
			want := int64(len(c.file) - c.torn)
			if c.torn == 0 {
				want = -1
			}
			if err != nil || last != c.last || torn != want {
				t.Fatalf("last %d, torn at %d, %v; want %d, %d", last, torn, err, c.last, want)
			}
			if c.read > 0 && f.read > c.read {
				t.Fatalf("%d bytes of %d were read, want %d at most", f.read, len(c.file), c.read)
			}
		})
	}
}

// TestArchiveGoesOnAfterATornRow writes behind what a crash left.
func TestArchiveGoesOnAfterATornRow(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, archiveDir, "evicted.jsonl")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(rowsOf(1, 2)+`{"evicted":3,"aud`), 0o600); err != nil {
		t.Fatal(err)
	}
	archiveAgain(t, dir, 1, 2, 3, 4)
	if b, err := os.ReadFile(path); err != nil || string(b) != rowsOf(1, 2, 3, 4) {
		t.Fatalf("%v:\n%s", err, b)
	}
}

// TestArchiveKnowsItsEndAfterARotation: the present file may have no row yet.
func TestArchiveKnowsItsEndAfterARotation(t *testing.T) {
	dir := t.TempDir()
	archiveAgain(t, dir, 1, 2)
	path := filepath.Join(dir, archiveDir, "evicted.jsonl")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	archiveAgain(t, dir, 1, 2, 3)
	if b, err := os.ReadFile(path); err != nil || string(b) != rowsOf(3) {
		t.Fatalf("%v:\n%s", err, b)
	}
}

// archiveAgain starts on the directory and replays some revisions.
func archiveAgain(t *testing.T, dir string, revisions ...uint64) {
	t.Helper()
	a, err := openArchive(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range revisions {
		a.add([]fsm.Evicted{{Revision: r, Audit: &fsm.Audit{}}})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.run(ctx); err != nil {
		t.Fatal(err)
	}
}

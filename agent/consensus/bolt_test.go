package consensus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/rs/zerolog"
	"go.etcd.io/bbolt"
)

// TestDamagedDatabasesAreErrors damages both bbolt files in many ways. Either the
// damage lies where nothing is kept, and all is as before, or it is a *DamageError
// that names the file. A panic in bbolt's goroutine would end the test's process.
func TestDamagedDatabasesAreErrors(t *testing.T) {
	whole := written(t)
	random := rand.New(rand.NewPCG(1, 2))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	for _, name := range []string{stableFile, filepath.Join(walDirName, metadb.FileName)} {
		good, err := os.ReadFile(filepath.Join(whole, name))
		must(t, err)
		try := func(what string, b []byte) bool {
			t.Helper()
			dir := filepath.Join(t.TempDir(), "raft")
			must(t, os.CopyFS(dir, os.DirFS(whole)))
			must(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
			return opensTheSame(t, dir, name+": "+what)
		}
		refused := 0
		for off := 0; off < len(good); off += 2048 {
			for what, bad := range map[string][]byte{"zeros": make([]byte, 64), "ones": bytes.Repeat([]byte{0xff}, 64), "noise": noise(64)} {
				b := bytes.Clone(good)
				copy(b[off:], bad)
				if !try(fmt.Sprintf("64 bytes of %s at %d", what, off), b) {
					refused++
				}
			}
		}
		if refused < 9 { // two meta pages and one leaf at the least
			t.Errorf("%s: only %d of the damaged files were refused", name, refused)
		}
		for _, n := range []int{0, 1, 15, 79, 80, 4096, 4200, 8191, 8192, 12288, 16383} {
			if try(fmt.Sprintf("cut to %d bytes", n), good[:n]) {
				t.Errorf("%s: cut to %d bytes of %d it was opened", name, n, len(good))
			}
		}
		for range 120 { // single bits, where something is kept
			b := bytes.Clone(good)
			i := random.IntN(len(b))
			for b[i] == 0 {
				i = random.IntN(len(b))
			}
			b[i] ^= 1 << random.IntN(8)
			if _, err := parseBolt(b); err == nil && random.IntN(4) == 0 {
				try(fmt.Sprintf("a bit at %d", i), b)
			}
		}
	}
}

// opensTheSame reports false for a *DamageError.
func opensTheSame(t *testing.T, dir, what string) bool {
	t.Helper()
	s, err := openStores(dir, zerolog.Nop(), smallSegment)
	if err != nil {
		var d *DamageError
		if !errors.As(err, &d) || !strings.HasPrefix(d.Path, dir) {
			t.Fatalf("%s: %v; want a *DamageError", what, err)
		}
		return false
	}
	defer s.Close()
	boot, err := s.LastBoot()
	term, terr := s.Stable.GetUint64(keyTerm)
	vote, verr := s.Stable.Get([]byte("LastVoteCand"))
	last, lerr := s.Logs.LastIndex()
	if err := errors.Join(err, terr, verr, lerr); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	got := fmt.Sprint(boot.Number, string(boot.Nonce), term, string(vote), last)
	if want := fmt.Sprint(7, "nonce", 3, "bbbb", lastEntry); got != want {
		t.Fatalf("%s: opened with %s, want %s", what, got, want)
	}
	must(t, s.SetBoot(Boot{Number: 8, Nonce: []byte("next")}))
	must(t, s.Logs.StoreLogs(entries(last+1, 1, 3)))
	return true
}

func TestDatabaseThatIsNoFile(t *testing.T) {
	for _, name := range []string{stableFile, filepath.Join(walDirName, metadb.FileName)} {
		dir := written(t)
		path := filepath.Join(dir, name)
		must(t, os.Remove(path))
		must(t, os.Mkdir(path, 0o700))
		if opensTheSame(t, dir, name+" is a directory") {
			t.Errorf("%s is a directory and was opened", name)
		}
	}
}

// TestGuardedMakesPanicsErrors is the second line: what the look before did not see.
func TestGuardedMakesPanicsErrors(t *testing.T) {
	err := guarded("file", func() error { panic("assertion failed") })
	var d *DamageError
	if !errors.As(err, &d) || d.Path != "file" {
		t.Fatal(err)
	}
	if err := guarded("file", func() error { return fs.ErrExist }); !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
}

func TestValuesCarryACheckSum(t *testing.T) {
	dir := written(t)
	s := reopened(t, dir)
	inner := s.Stable.(summed).StableStore
	b, err := inner.Get(keyTerm)
	must(t, err)
	b = bytes.Clone(b)
	b[7]++
	must(t, inner.Set(keyTerm, b))
	if _, err := s.Stable.GetUint64(keyTerm); err == nil {
		t.Error("a changed term was read")
	}
	must(t, s.Close())
	if opensTheSame(t, dir, "a changed term") {
		t.Error("a changed term was opened")
	}
}

// FuzzParseBolt holds the promise that what is found sound can be opened. It changes
// bytes of a whole file at two places and, when told to, puts the check sums of the
// meta pages right again.
func FuzzParseBolt(f *testing.F) {
	dir := written(f)
	var whole [][]byte
	for _, name := range []string{stableFile, filepath.Join(walDirName, metadb.FileName)} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		must(f, err)
		whole = append(whole, b)
	}
	f.Add(false, true, uint16(0), []byte{}, uint16(0), []byte{})
	for page := range uint16(8) {
		f.Add(true, false, page*4096+8, []byte{2, 0, 0xff, 0xff}, page*4096, []byte{1})
		f.Add(false, true, page*4096+16, []byte{1, 0, 0, 0}, page*4096+32, []byte{1})
	}
	f.Fuzz(func(t *testing.T, stable, sums bool, off uint16, bad []byte, off2 uint16, bad2 []byte) {
		b := bytes.Clone(whole[1])
		if stable {
			b = bytes.Clone(whole[0])
		}
		copy(b[int(off)%len(b):], bad)
		copy(b[int(off2)%len(b):], bad2)
		for page := 0; sums && page < 2; page++ {
			meta := b[page*os.Getpagesize()+boltHeader:][:boltMeta]
			h := fnv.New64a()
			h.Write(meta[:56])
			binary.NativeEndian.PutUint64(meta[56:], h.Sum64())
		}
		found, err := parseBolt(b)
		if err != nil {
			return
		}
		path := filepath.Join(t.TempDir(), "db")
		must(t, os.WriteFile(path, b, 0o600))
		for _, noSync := range []bool{false, true} {
			db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: noSync, NoSync: true})
			if err != nil {
				t.Fatalf("found sound, but bbolt says %v", err)
			}
			got := buckets{}
			err = db.View(func(tx *bbolt.Tx) error {
				return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
					keys := map[string][]byte{}
					got[string(name)] = keys
					return b.ForEach(func(k, v []byte) error {
						keys[string(k)] = bytes.Clone(v)
						return nil
					})
				})
			})
			must(t, err)
			if diff := cmp.Diff(maps.Clone(found), got); diff != "" && !noSync {
				t.Fatal(diff)
			}
			must(t, db.Update(func(tx *bbolt.Tx) error {
				b, err := tx.CreateBucketIfNotExists([]byte("new"))
				if err != nil {
					return err
				}
				return b.Put([]byte("k"), make([]byte, 5000))
			}))
			must(t, db.Close())
		}
	})
}

// TestParseLargeTree reads a tree with branches and with values over several pages,
// and does not take it with keys out of order.
func TestParseLargeTree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	must(t, err)
	want := buckets{"b": {}}
	must(t, db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		if err != nil {
			return err
		}
		for i := range 2000 {
			k, v := fmt.Sprintf("key-%05d", i), bytes.Repeat([]byte{byte(i)}, 20)
			if i%500 == 0 {
				v = bytes.Repeat(v, 500)
			}
			want["b"][k] = v
			if err := b.Put([]byte(k), v); err != nil {
				return err
			}
		}
		return nil
	}))
	must(t, db.Close())
	file, err := os.ReadFile(path)
	must(t, err)
	got, err := parseBolt(file)
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	for n := 0; ; n++ { // the same key stands in leaves and in branches
		at := bytes.Index(file, []byte("key-00"))
		if at < 0 {
			if n < 1000 {
				t.Fatalf("only %d keys were found in the file", n)
			}
			break
		}
		file[at] = 'K' // not found again
		if n%8 != 0 {
			continue
		}
		b := bytes.Clone(file)
		b[at] = 'l'
		b = bytes.ReplaceAll(b, []byte("Key-"), []byte("key-"))
		if _, err := parseBolt(b); err == nil {
			t.Fatalf("a key out of order at %d was taken", at)
		}
	}
}

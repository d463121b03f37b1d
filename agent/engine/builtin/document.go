package builtin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	suffix       = ".csv"
	maxKey       = 64
	maxDocuments = 1000 // listed
)

// ErrNoDocument means that no CSV file has that name.
var ErrNoDocument = errors.New("no such document")

// validKey reports whether k may name a document: letters, digits, '.', '_' and
// '-', not beginning with a dot, so that it is the same in a URL and in a
// directory.
func validKey(k string) bool {
	if k == "" || len(k) > maxKey || k[0] == '.' {
		return false
	}
	for i := range len(k) {
		c := k[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// library is the directory of documents and those of them that are in memory.
type library struct {
	root  *os.Root // so that no link leads out of the directory
	limit int64
	now   func() time.Time
	life  *lifetime

	mu   sync.Mutex
	docs map[string]*document // that were opened at least once
}

// document is one document that was asked for.
type document struct {
	key string

	mu      sync.Mutex
	table   *Table   // nil until loaded
	loading *loading // nil while no first load runs
	failed  *failure // of the last first load; nil if there was none

	fence   uint64     // the highest token seen
	running *reloading // nil while no reload runs
}

// loading is a first load that runs. table and err are set before done is closed.
type loading struct {
	done  chan struct{}
	table *Table
	err   error
}

// failure is why a file could not be loaded, as long as it stays as it was.
type failure struct {
	err      error
	size     int64
	modified time.Time
}

// list returns the keys of the documents in the directory, sorted.
func (l *library) list() ([]string, error) {
	dir, err := l.root.Open(".")
	if err != nil {
		return nil, fmt.Errorf("open documents: %w", err)
	}
	defer func() { _ = dir.Close() }()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("list documents: %w", err)
	}
	var keys []string
	for _, e := range entries {
		key, ok := strings.CutSuffix(e.Name(), suffix)
		if ok && !e.IsDir() && validKey(key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys[:min(len(keys), maxDocuments)], nil
}

// document returns the document named key, which need not be in memory yet.
func (l *library) document(key string) (*document, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d, ok := l.docs[key]; ok {
		return d, nil
	}
	if _, err := l.stat(key); err != nil {
		return nil, err
	}
	d := &document{key: key}
	l.docs[key] = d
	return d, nil
}

// loaded returns the documents that are in memory, sorted by key.
func (l *library) loaded() []*document {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*document
	for _, d := range l.docs {
		if d.current() != nil {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b *document) int { return strings.Compare(a.key, b.key) })
	return out
}

func (l *library) stat(key string) (fs.FileInfo, error) {
	if !validKey(key) {
		return nil, ErrNoDocument
	}
	info, err := l.root.Stat(key + suffix)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrNoDocument
	case err != nil:
		return nil, fmt.Errorf("open document: %w", err)
	case !info.Mode().IsRegular(): // a pipe would block
		return nil, ErrNoDocument
	}
	return info, nil
}

// open returns the table of a document, loading it on first use. Whoever comes
// while it is loaded waits for the same load, which goes on if they give up.
func (l *library) open(ctx context.Context, key string) (*Table, error) {
	d, err := l.document(key)
	if err != nil {
		return nil, err
	}
	t, run, err := l.begin(d)
	if run == nil {
		return t, err
	}
	select {
	case <-run.done:
		return run.table, run.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// begin returns d's table, or why there is none, or the load that runs, which it
// starts if need be.
func (l *library) begin(d *document) (*Table, *loading, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.table != nil {
		return d.table, nil, nil
	}
	if d.loading != nil {
		return nil, d.loading, nil
	}
	if d.failed != nil {
		info, err := l.stat(d.key)
		if err != nil {
			return nil, nil, err
		}
		if d.failed.of(info) { // it would fail again, slowly
			return nil, nil, d.failed.err
		}
	}
	run := &loading{done: make(chan struct{})}
	if !l.life.start(func(ctx context.Context) { l.load(ctx, d, run) }) {
		return nil, nil, errClosed
	}
	d.loading = run
	return nil, run, nil
}

func (l *library) load(ctx context.Context, d *document, run *loading) {
	defer close(run.done)
	t, info, err := l.read(ctx, d.key)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.loading, d.failed = nil, nil
	if err != nil && info != nil {
		d.failed = &failure{err: err, size: info.Size(), modified: info.ModTime()}
	}
	if d.table == nil { // else a reload was faster, and is newer
		d.table = t
	} else {
		t, err = d.table, nil
	}
	run.table, run.err = t, err
}

func (f *failure) of(info fs.FileInfo) bool {
	return info.Size() == f.size && info.ModTime().Equal(f.modified)
}

func (d *document) current() *Table {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.table
}

// read loads a document from disk. The info is of the file as it was before.
func (l *library) read(ctx context.Context, key string) (*Table, fs.FileInfo, error) {
	before, err := l.stat(key)
	if err != nil {
		return nil, nil, err
	}
	f, err := l.root.Open(key + suffix)
	if err != nil {
		return nil, before, fmt.Errorf("open document: %w", err)
	}
	defer func() { _ = f.Close() }()
	if before, err = f.Stat(); err != nil {
		return nil, nil, fmt.Errorf("open document: %w", err)
	}
	t, err := Load(ctx, f, l.limit)
	if err != nil {
		return nil, before, err
	}
	after, err := f.Stat()
	if err != nil {
		return nil, before, fmt.Errorf("check document: %w", err)
	}
	if after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		return nil, before, errChanged
	}
	t.Loaded = l.now()
	return t, before, nil
}

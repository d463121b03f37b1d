package consensus

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// limited is a snapshot store that spares disk and network: what is written to its
// snapshots (made here or received) and read from them (sent) passes one bucket. A
// restore is not held up: the node is of no use before its end, see unlimit.
type limited struct {
	raft.SnapshotStore
	bucket *bucket
}

// newLimited limits store to rate bytes a second, which is asked for each piece and every
// rateEvery, so that a change is felt at once. When done is closed, reads and writes fail.
func newLimited(store raft.SnapshotStore, done <-chan struct{}, rate func() int64) *limited {
	return &limited{store, &bucket{rate: rate, done: done, at: time.Now()}}
}

// Create implements raft.SnapshotStore.
func (l *limited) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := l.SnapshotStore.Create(version, index, term, c, ci, t)
	if err != nil {
		return nil, err
	}
	return &slowSink{SnapshotSink: sink, bucket: l.bucket, store: l.SnapshotStore, index: index}, nil
}

// Open implements raft.SnapshotStore.
func (l *limited) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, r, err := l.SnapshotStore.Open(id)
	if err != nil {
		return nil, nil, err
	}
	return meta, &slowReader{r, l.bucket}, nil
}

// limit is the rate in force, for the metrics.
func (l *limited) limit() int64 { return l.bucket.rate() }

// unlimit takes the limit from a reader that Raft hands to FSM.Restore. Raft opens
// snapshots for restoring and for sending in the same way, but restores alone come
// there, inside a reader that counts.
func unlimit(r io.ReadCloser) {
	for {
		if slow, ok := r.(*slowReader); ok {
			slow.bucket = nil
			return
		}
		w, ok := r.(raft.ReadCloserWrapper)
		if !ok {
			return
		}
		r = w.WrappedReadCloser()
	}
}

const (
	maxPiece  = 64 << 10               // bounds what passes at once
	rateEvery = 100 * time.Millisecond // how often a piece that waits looks at the rate
)

// errOvertaken says that a snapshot is not needed any more.
var errOvertaken = errors.New("a later snapshot was kept meanwhile")

type slowSink struct {
	raft.SnapshotSink
	bucket *bucket
	store  raft.SnapshotStore
	index  uint64
}

// Close implements raft.SnapshotSink. It refuses a snapshot that took so long that a later
// one, the leader's, was installed meanwhile: Raft would take the older one's index for the
// end of what it has, and give its vote by that.
func (s *slowSink) Close() error {
	list, err := s.store.List()
	if err == nil && len(list) > 0 && list[0].Index > s.index {
		err = errOvertaken
	}
	if err != nil {
		return errors.Join(err, s.SnapshotSink.Cancel())
	}
	return s.SnapshotSink.Close()
}

func (s *slowSink) Write(b []byte) (int, error) {
	n := 0
	for len(b) > n {
		piece := b[n:min(len(b), n+maxPiece)]
		if err := s.bucket.take(len(piece)); err != nil {
			return n, err
		}
		m, err := s.SnapshotSink.Write(piece)
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

type slowReader struct {
	io.ReadCloser
	bucket *bucket // nil: no limit
}

func (r *slowReader) Read(b []byte) (int, error) {
	if r.bucket == nil {
		return r.ReadCloser.Read(b)
	}
	n, err := r.ReadCloser.Read(b[:min(len(b), maxPiece)])
	if n > 0 {
		if full := r.bucket.take(n); full != nil {
			return 0, full
		}
	}
	return n, err
}

// bucket is a token bucket, kept as what is owed to it. Idle time is worth a tenth of a
// second. It is safe for concurrent use.
type bucket struct {
	rate func() int64 // bytes a second
	done <-chan struct{}

	mu   sync.Mutex
	owed int64
	at   time.Time // until when owed has been paid
}

// take returns when n more bytes may have passed. It fails when the store closes.
func (b *bucket) take(n int) error {
	for wait := b.owe(n); wait > 0; wait = b.owe(0) {
		t := time.NewTimer(min(wait, rateEvery))
		select {
		case <-t.C:
		case <-b.done:
			t.Stop()
			return ErrClosed
		}
	}
	return nil
}

// owe adds n to what is owed, and says how long paying it takes.
func (b *bucket) owe(n int) time.Duration {
	rate := float64(max(b.rate(), 1))
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	paid := now.Sub(b.at).Seconds() * rate
	b.at = now
	b.owed = int64(max(float64(b.owed)-paid, -rate/10)) + int64(n)
	return time.Duration(float64(b.owed) / rate * float64(time.Second))
}

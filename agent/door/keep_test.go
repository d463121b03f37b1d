package door

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Memory for a body comes with its bytes.
func TestAnnouncedBodies(t *testing.T) {
	const bodies, length = 200, maxReplay
	before := allocated()
	var writers []*io.PipeWriter
	var wait sync.WaitGroup
	begun := make(chan struct{}, bodies)
	for range bodies {
		pr, pw := io.Pipe()
		writers = append(writers, pw)
		r := httptest.NewRequest(http.MethodPost, "/", pr)
		r.ContentLength = length
		wait.Go(func() {
			begun <- struct{}{}
			_, err := newBody(r, http.NewResponseController(httptest.NewRecorder()), TrafficSettings{}, time.Now, true)
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("half a body: %v", err)
			}
		})
	}
	for range bodies {
		<-begun
	}
	for _, w := range writers {
		_, _ = io.WriteString(w, "x") // its reader has its memory
	}
	if grew := allocated() - before; grew > bodies*length/4 {
		t.Errorf("%d bodies of one byte each take %d bytes", bodies, grew)
	}
	for _, w := range writers {
		_ = w.Close()
	}
	wait.Wait()
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// Bodies of all lengths are kept as they came, in whatever pieces.
func TestKeptBodies(t *testing.T) {
	for _, n := range []int{1, firstKept - 1, firstKept, firstKept + 1, 2*firstKept + 1, maxReplay - 1, maxReplay} {
		want := strings.Repeat("0123456789abcde\n", n/16+1)[:n]
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(want+"more"))
		r.ContentLength = int64(n)
		b, err := newBody(r, http.NewResponseController(httptest.NewRecorder()), TrafficSettings{}, time.Now, true)
		if err != nil || string(b.small) != want || b.unread() {
			t.Errorf("%d bytes: %v, %d came", n, err, len(b.small))
		}
	}
}

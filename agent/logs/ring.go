package logs

import (
	"bytes"
	"sync"
)

// Bounds of a Ring.
const (
	RingLines = 2000
	ringLine  = 4 << 10 // bytes; of a longer line the beginning is kept
)

// Ring keeps the last lines that were written to it, for whoever looks into the agent
// when nobody kept its log. It is safe for concurrent use; the zero value is ready.
type Ring struct {
	mu    sync.Mutex
	lines [][]byte
	next  int    // where the oldest is, once there are RingLines
	lost  uint64 // lines that were overwritten
}

// Write implements io.Writer: a call is a line, as zerolog writes them. It keeps a copy
// and never fails.
func (r *Ring) Write(p []byte) (int, error) {
	line := bytes.TrimRight(p, "\n")
	line = line[:min(len(line), ringLine)]
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lines) < RingLines {
		r.lines = append(r.lines, bytes.Clone(line))
		return len(p), nil
	}
	old := r.lines[r.next]
	if cap(old) > 2*len(line)+256 {
		old = nil // one long line must not hold its room for ever
	}
	r.lines[r.next] = append(old[:0], line...)
	r.next = (r.next + 1) % RingLines
	r.lost++
	return len(p), nil
}

// Lines are the last lines, the oldest first, each without its line break, and how many
// came before them. The caller owns them.
func (r *Ring) Lines() (lines [][]byte, before uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([][]byte, 0, len(r.lines))
	for i := range r.lines {
		out = append(out, bytes.Clone(r.lines[(r.next+i)%len(r.lines)]))
	}
	return out, r.lost
}

package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// An agent's heap is small, a few megabytes as a rule, and Go would collect it dozens of
// times a second under load. So the heap may always grow by garbageRoom between two
// collections, and by its own size (Go's default) once that is more.
const (
	garbageRoom  = 16 << 20 // bytes
	paceInterval = 10 * time.Second
)

// paceCollector keeps to that until ctx ends.
func paceCollector(ctx context.Context) {
	t := time.NewTicker(paceInterval)
	defer t.Stop()
	for now := 0; ; {
		if p := collectAt(liveHeap()); p != now {
			debug.SetGCPercent(p)
			now = p
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// collectAt is by how many percent a heap of live bytes may grow.
func collectAt(live uint64) int {
	return int(max(garbageRoom*100/max(live, 1<<20), 100))
}

// liveHeap is what the last collection has left, in bytes.
func liveHeap() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return garbageRoom // not known: Go's default
	}
	return s[0].Value.Uint64()
}

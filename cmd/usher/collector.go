package main

import (
	"runtime"
	"runtime/metrics"
	"sync/atomic"
)

// An agent's heap is small, a few megabytes as a rule, and Go would collect it dozens of
// times a second under load. So the heap may always grow by garbageRoom between two
// collections, and by its own size (Go's default) once that is more.
const garbageRoom = 16 << 20 // bytes

// pacer keeps to that. It looks after each collection: with the room of a small heap one that
// grows quickly would take several times what it needs.
type pacer struct {
	set     func(percent int)
	stopped atomic.Bool
	percent int // in force
}

// paceCollector begins, until stop is called on what it returns.
func paceCollector(set func(percent int)) *pacer {
	p := &pacer{set: set}
	p.collected(p)
	return p
}

func (p *pacer) stop() { p.stopped.Store(true) }

// collected is called with the beginning, and then by the runtime after each collection.
func (*pacer) collected(p *pacer) {
	if p.stopped.Load() {
		return
	}
	if n := collectAt(liveHeap()); differ(n, p.percent) {
		p.set(n)
		p.percent = n
	}
	marker := new([64]byte) // small ones are collected together with others, or never
	runtime.AddCleanup(marker, p.collected, p)
}

// differ reports whether a change from old to p is worth a halt of the program.
func differ(p, old int) bool { return p > old+old/8 || p < old-old/8 }

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

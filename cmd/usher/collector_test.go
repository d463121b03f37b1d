package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestCollectAt(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{
		{1 << 20, 1600},
		{4 << 20, 400},
		{16 << 20, 100},
		{1 << 40, 100}, // Go's default
		{0, 1600},
	} {
		if got := collectAt(c.live); got != c.want {
			t.Errorf("%d bytes: %d %%, want %d", c.live, got, c.want)
		}
	}
	runtime.GC()
	if n := liveHeap(); n == 0 || n == garbageRoom {
		t.Errorf("%d bytes are in use", n)
	}
}

func TestPaceCollector(t *testing.T) {
	before := debug.SetGCPercent(7)
	defer debug.SetGCPercent(before)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	paceCollector(ctx)
	if got := debug.SetGCPercent(before); got < 100 {
		t.Errorf("the collector is at %d %%", got)
	}
}

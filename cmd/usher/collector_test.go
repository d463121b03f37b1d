package main

import (
	"runtime"
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
	set := make(chan int, 100)
	p := paceCollector(func(percent int) { set <- percent })
	defer p.stop()
	if got := <-set; got <= 100 {
		t.Errorf("a small heap is collected at %d %%", got)
	}
	grown := make([]byte, 2*garbageRoom) // the room of a small heap is too much for this one
	runtime.GC()
	if got := <-set; got != 100 {
		t.Errorf("a heap of %d MiB is collected at %d %%", len(grown)>>20, got)
	}
	runtime.KeepAlive(grown)
}

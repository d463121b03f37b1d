package consensus

import (
	"bytes"
	"testing"

	"github.com/ushercluster/usher/fsm"
)

func TestGather(t *testing.T) {
	const k = 1 << 10
	many := func(n, size int) []int {
		out := make([]int, n)
		for i := range out {
			out[i] = size
		}
		return out
	}
	for _, c := range []struct {
		name      string
		sizes     []int // of what waits; a negative one was withdrawn
		want      int   // commands in the entry
		next      int   // place of the one that did not fit; -1: none
		remaining int   // in the queue
	}{
		{"alone", []int{10}, 1, -1, 0},
		{"together", many(7, 10), 7, -1, 0},
		{"as many as an entry holds", many(256, 10), 256, -1, 0},
		{"one more", many(257, 10), 256, -1, 1},
		{"as large as an entry is, nearly", many(4, 64*k-64), 4, -1, 0},
		{"too large", many(6, 63*k), 4, 4, 1},
		{"the first is withdrawn", []int{-10, 10}, 1, -1, 0},
		{"all are withdrawn", []int{-10, -10}, 0, -1, 0},
		{"one too large is withdrawn", []int{64 * k, 64 * k, 64 * k, 63 * k, -64 * k, 10}, 4, 4, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			waiting := parcels(c.sizes)
			queue := make(chan *parcel, len(waiting))
			for _, w := range waiting[1:] {
				queue <- w
			}
			batch, next := gather(waiting[0], queue)
			place := -1
			for i, w := range waiting {
				if w == next {
					place = i
				}
			}
			if len(batch) != c.want || place != c.next || len(queue) != c.remaining {
				t.Errorf("%d in the entry, next %d, %d remain; want %d, %d, %d",
					len(batch), place, len(queue), c.want, c.next, c.remaining)
			}
		})
	}
}

func parcels(sizes []int) []*parcel {
	out := make([]*parcel, len(sizes))
	for i, size := range sizes {
		out[i] = &parcel{item: fsm.Item{Command: make([]byte, max(size, -size))}, of: &shipment{done: make(chan struct{})}}
		out[i].of.left.Store(1)
		if size < 0 {
			out[i].withdraw()
		}
	}
	return out
}

// FuzzGather packs parcels of any sizes and actors: each goes into one entry, in order,
// and each entry can be encoded and read back.
func FuzzGather(f *testing.F) {
	f.Add([]byte{1, 2, 3})
	f.Add([]byte{255, 255, 255, 255, 255, 0, 128})
	f.Add(bytes.Repeat([]byte{15}, 80)) // more of actors than of commands
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 || len(in) > 2000 {
			return
		}
		queue := make(chan *parcel, len(in))
		var want []*parcel
		for i, b := range in {
			w := &parcel{item: fsm.Item{ID: fsm.CommandID{byte(i), byte(i >> 8)}, Command: make([]byte, int(b>>2)<<10)}}
			if b&3 == 3 {
				w.item.Actor = fsm.Actor{Kind: fsm.ActorLocal, ID: string(make([]byte, 4096))}
			}
			if b&3 == 1 {
				w.withdraw()
			} else {
				want = append(want, w)
			}
			queue <- w
		}
		var got []*parcel
		for first := <-queue; first != nil; {
			batch, next := gather(first, queue)
			var items []fsm.Item
			for _, w := range batch {
				items = append(items, w.item)
			}
			b, err := fsm.EncodeEntry(fsm.Entry{Items: items})
			if err != nil {
				t.Fatalf("an entry of %d commands: %v", len(batch), err)
			}
			if e, err := fsm.DecodeEntry(b); err != nil || len(e.Items) != len(batch) || len(batch) > fsm.MaxEntryItems {
				t.Fatalf("%d commands of %d: %v", len(e.Items), len(batch), err)
			}
			got = append(got, batch...)
			if first = next; first == nil {
				select {
				case first = <-queue:
				default:
				}
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%d of %d parcels", len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("parcel %d is out of turn", i)
			}
		}
	})
}

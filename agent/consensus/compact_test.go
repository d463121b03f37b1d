package consensus

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

func TestTrailing(t *testing.T) {
	for _, c := range []struct {
		room, bytes, entries int64
		want                 uint64
	}{
		{16 << 20, 64 << 20, 1000, 250},
		{16 << 20, 64 << 20, 256, trailingLeast},
		{16 << 20, 64 << 20, 1 << 30, trailingMost},
		{16 << 20, 0, 0, trailingLeast},
	} {
		if got := trailing(c.room, c.bytes, c.entries); got != c.want {
			t.Errorf("%d bytes in %d entries: %d, want %d", c.bytes, c.entries, got, c.want)
		}
	}
}

func TestAppetite(t *testing.T) {
	a := newAppetite(100)
	a.ate([]*raft.Log{{Data: make([]byte, 40)}, {Data: make([]byte, 59)}})
	select {
	case <-a.full:
		t.Fatal("full after 99 bytes of 100")
	default:
	}
	for range 3 { // nobody has to look
		a.ate([]*raft.Log{{Data: make([]byte, 1)}})
	}
	<-a.full
	if a.bytes.Load() != 102 || a.entries.Load() != 5 {
		t.Errorf("%d bytes in %d entries", a.bytes.Load(), a.entries.Load())
	}
}

// TestLogIsBounded writes without end: no node's log grows with it, and a follower that
// was away comes back all the same.
func TestLogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		c.stopAll()
		const budget, size = 256 << 10, 8 << 10
		c.budget = budget
		for _, i := range c.ids {
			c.start(i)
		}
		l := c.leader("")
		away := c.others(l)[0]
		text := strings.Repeat("x", size)
		write := func(n int) {
			t.Helper()
			for i := range n {
				if _, err := l.store.Apply(t.Context(), putIf(fmt.Sprintf("key-%d", i%4), text, 0)); err != nil {
					t.Fatal(err)
				}
			}
		}
		bounded := func() {
			t.Helper()
			time.Sleep(time.Second)
			for _, m := range c.nodes {
				first, err := m.stores.Logs.FirstIndex()
				last, err2 := m.stores.Logs.LastIndex()
				if err != nil || err2 != nil {
					t.Fatal(err, err2)
				}
				// What came since the last snapshot, and what trails it.
				if held, most := int64(last-first+1)*size, int64(budget+trailingLeast*size+budget/2); held > most {
					t.Errorf("%s holds %d KiB of log, bound %d", m.id, held>>10, most>>10)
				}
			}
		}
		write(200)
		bounded()
		c.net.Isolate(c.hosts[away.id])
		write(300)
		c.net.HealHost(c.hosts[away.id])
		c.within(5*time.Second, "it is back", func() bool { return away.store.View().Revision() == l.store.View().Revision() })
		write(100)
		bounded()
		c.agree()
	})
}

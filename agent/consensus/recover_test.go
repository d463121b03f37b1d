package consensus

import (
	"context"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// TestASurvivorGoesOn takes one of three servers whose others are lost: all that had come
// to its log is there, committed or not, and it leads alone.
func TestASurvivorGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l := settled(t, 3)
		defer c.stopAll()
		survivor := c.others(l)[0]
		for _, v := range []string{"document", "browser", "document"} {
			if _, err := l.store.Apply(t.Context(), set("session.scope", v)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		term := l.store.Status().Term
		want := survivor.store.View().Hash()
		c.stopAll()

		dir := filepath.Join(survivor.dir, "raft")
		stores, err := OpenStores(dir, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		if err := stores.SetBoot(Boot{Number: 7, Nonce: []byte("n")}); err != nil {
			t.Fatal(err)
		}
		s, err := stores.Survivor()
		if err != nil {
			t.Fatal(err)
		}
		if err := stores.Close(); err != nil {
			t.Fatal(err)
		}
		if got := s.State.View().Hash(); got != want {
			t.Error("the state is not the one that the server had")
		}
		if len(s.Voters) != 3 || s.LastTerm != term || s.Term < term || s.Boot.Number != 7 {
			t.Errorf("survivor: %d voters, last term %d, term %d of %d, start %d", len(s.Voters), s.LastTerm, s.Term, term, s.Boot.Number)
		}

		survivor.dir = t.TempDir()
		if stores, err = OpenStores(filepath.Join(survivor.dir, "raft"), zerolog.Nop()); err != nil {
			t.Fatal(err)
		}
		if err := stores.GoOn(survivor.id, s); err != nil {
			t.Fatal(err)
		}
		if b, err := stores.LastBoot(); err != nil || b.Number != 7 {
			t.Errorf("start %d, %v", b.Number, err)
		}
		if err := stores.Close(); err != nil {
			t.Fatal(err)
		}
		c.start(survivor.id)
		c.within(time.Second, "it leads alone", func() bool { return survivor.store.Status().IsLeader })
		st := survivor.store.Status()
		if d := cmp.Diff([]peer.ID{survivor.id}, st.Voters); d != "" || st.LastIndex <= s.LastIndex || st.Term <= s.Term {
			t.Errorf("index %d after %d, term %d after %d; voters %s", st.LastIndex, s.LastIndex, st.Term, s.Term, d)
		}
		if _, err := survivor.store.Apply(t.Context(), set("session.scope", "browser")); err != nil {
			t.Error(err)
		}
		c.stop(survivor.id)
		c.start(survivor.id) // its log and its mark are in order
		c.within(time.Second, "it leads again", func() bool { return survivor.store.Status().IsLeader })
		if got := survivor.store.View().Text("session.scope"); got != "browser" {
			t.Errorf("after a restart: %q", got)
		}
	})
}

// TestASurvivorHasWhatWasNotCommitted: an entry that reached one server's log alone may have
// been on its way to be acknowledged.
func TestASurvivorHasWhatWasNotCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l := settled(t, 3)
		defer c.stopAll()
		c.net.Isolate(c.hosts[l.id])
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, _ = l.store.Propose(ctx, set("session.scope", "document")) // nobody can acknowledge it
		c.stop(l.id)
		stores, err := OpenStores(filepath.Join(l.dir, "raft"), zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		defer stores.Close()
		s, err := stores.Survivor()
		if err != nil {
			t.Fatal(err)
		}
		if got := s.State.View().Text("session.scope"); got != "document" {
			t.Errorf("session.scope is %q", got)
		}
	})
}

func TestNoSurvivorInEmptyStores(t *testing.T) {
	stores, err := OpenStores(filepath.Join(t.TempDir(), "raft"), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer stores.Close()
	if s, err := stores.Survivor(); err == nil {
		t.Errorf("found %+v", s)
	}
	if err := stores.GoOn("x", Survivor{State: fsm.New(fsm.Options{})}); err != nil {
		t.Errorf("empty stores refuse: %v", err)
	}
}

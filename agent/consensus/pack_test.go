package consensus

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/fsm"
)

// answer is what one Propose of a test returned.
type answer struct {
	fsm.Result
	err error
	at  time.Time
}

// propose begins a proposal and returns when it is queued, or under way.
func propose(ctx context.Context, s *Store, p fsm.Proposal) <-chan answer {
	out := make(chan answer, 1)
	go func() {
		r, err := s.Propose(ctx, p)
		out <- answer{r, err, time.Now()}
	}()
	synctest.Wait()
	return out
}

// fillSlots puts both entries under way that may be: what is proposed next waits, and
// travels together.
func fillSlots(t *testing.T, s *Store) []<-chan answer {
	t.Helper()
	var out []<-chan answer
	for i := range entriesInFlight {
		out = append(out, propose(t.Context(), s, put(fmt.Sprintf("filler-%d", i))))
	}
	return out
}

func TestManyWritesTravelInFewEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		time.Sleep(time.Second)
		c.net.SetDelay(5 * time.Millisecond)
		before := l.store.Status().LastIndex
		const n = 600
		answers := make(chan answer, n)
		for i := range n {
			go func() {
				r, err := l.store.Propose(t.Context(), put(fmt.Sprintf("p%d", i)))
				answers <- answer{r, err, time.Now()}
			}()
		}
		seen := map[uint64]bool{}
		for range n {
			a := <-answers
			if a.err != nil || a.Err() != nil {
				t.Fatal(a.err, a.Err())
			}
			seen[a.Revision] = true
		}
		if len(seen) != n {
			t.Errorf("%d revisions for %d commands", len(seen), n)
		}
		if entries := l.store.Status().LastIndex - before; entries > 6 {
			t.Errorf("%d commands took %d entries", n, entries)
		}
		audited := 0
		for a := range l.store.View().Audit(0) {
			if seen[a.Revision] {
				audited++
			}
		}
		if audited != n {
			t.Errorf("%d audit rows for %d commands", audited, n)
		}
		c.agree()
	})
}

// TestCommandsOfOneEntryAreTheirOwn packs two writes that compare and set the same row,
// a command that comes twice, one that is malformed, and a good one.
func TestCommandsOfOneEntryAreTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		time.Sleep(time.Second)
		c.net.SetDelay(20 * time.Millisecond)
		before := l.store.Status().LastIndex
		fillers := fillSlots(t, l.store)
		twice := put("twice")
		twice.ID = fsm.CommandID{7}
		first := propose(t.Context(), l.store, putIf("row", "first", fsm.Absent))
		second := propose(t.Context(), l.store, putIf("row", "second", fsm.Absent))
		malformed := propose(t.Context(), l.store, put(""))
		once, again := propose(t.Context(), l.store, twice), propose(t.Context(), l.store, twice)
		good := propose(t.Context(), l.store, put("good"))
		for _, f := range fillers {
			if a := <-f; a.err != nil {
				t.Fatal(a.err)
			}
		}
		a, b, bad, o, r, g := <-first, <-second, <-malformed, <-once, <-again, <-good
		for _, x := range []answer{a, b, bad, o, r, g} {
			if x.err != nil || !x.at.Equal(a.at) {
				t.Fatalf("%v at %v: all are answered with their entry, at %v", x.err, x.at, a.at)
			}
		}
		if entries := l.store.Status().LastIndex - before; entries != 3 {
			t.Fatalf("%d entries, want two and the one that is looked at", entries)
		}
		if a.Err() != nil || !fsm.IsCode(b.Err(), fsm.CodeConflict) || !fsm.IsCode(bad.Err(), fsm.CodeInvalid) || g.Err() != nil {
			t.Errorf("%v; %v; %v; %v: want the first, the third's neighbours unharmed, and the last", a.Err(), b.Err(), bad.Err(), g.Err())
		}
		if o.Repeated || !r.Repeated || o.Revision != r.Revision {
			t.Errorf("%+v, %+v: want the same result twice", o, r)
		}
		revisions := []uint64{a.Revision, b.Revision, bad.Revision, o.Revision, g.Revision}
		for i := range revisions[1:] {
			if revisions[i+1] != revisions[i]+1 {
				t.Errorf("revisions %v, want one for each command", revisions)
			}
		}
		v := l.store.View()
		if v.Secret("row") == nil || string(v.Secret("row").Sealed) != "first" || v.Secret("good") == nil {
			t.Error("the state is not what the answers say")
		}
		rows := map[uint64]int{}
		for row := range v.Audit(a.Revision) {
			rows[row.Revision]++
		}
		for _, rev := range revisions {
			if rows[rev] != 1 {
				t.Errorf("%d audit rows of revision %d", rows[rev], rev)
			}
		}
		c.agree()
	})
}

// TestWithdrawn leaves with a command that waits, and with one that is under way.
func TestWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		time.Sleep(time.Second)
		c.net.SetDelay(20 * time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		taken := propose(ctx, l.store, put("taken"))
		other := propose(t.Context(), l.store, put("other"))
		waits := propose(ctx, l.store, put("waits"))
		cancel()
		var not *NotSentError
		if a := <-waits; !errors.As(a.err, &not) || errors.Is(a.err, ErrUnknown) || !errors.Is(a.err, context.Canceled) {
			t.Errorf("who waited left with %v, want not sent", a.err)
		}
		if a := <-taken; errors.As(a.err, &not) || !errors.Is(a.err, ErrUnknown) {
			t.Errorf("who was under way left with %v, want unknown", a.err)
		}
		if a := <-other; a.err != nil {
			t.Error(a.err)
		}
		time.Sleep(time.Second)
		v := l.store.View()
		if v.Secret("waits") != nil {
			t.Error("a command was carried out though it was withdrawn")
		}
		if v.Secret("taken") == nil {
			t.Error("a command was withdrawn though it was under way")
		}
		if n := l.store.calls.count(); n != 0 {
			t.Errorf("%d calls are still counted", n)
		}
	})
}

// TestFullQueue fills the queue of a leader that reaches one of four: there is no
// majority, but somebody to forward.
func TestFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newGroup(t, 5)
		defer c.stopAll()
		l := c.leader("")
		time.Sleep(time.Second)
		others := c.others(l)
		for _, m := range others[1:] {
			c.net.Cut(c.hosts[l.id], c.hosts[m.id])
		}
		began := time.Now()
		fillSlots(t, l.store)
		done := make(chan error, queueLength+1)
		for i := range queueLength + 1 { // and one that has left the queue and waits for a slot
			go func() {
				_, err := l.store.Propose(t.Context(), put(fmt.Sprintf("q%d", i)))
				done <- err
			}()
		}
		synctest.Wait()
		for name, do := range map[string]func() error{
			"propose":            func() error { _, err := l.store.Propose(t.Context(), put("x")); return err },
			"apply":              func() error { _, err := l.store.Apply(t.Context(), put("x")); return err },
			"apply elsewhere":    func() error { _, err := others[0].store.Apply(t.Context(), put("x")); return err },
			"apply once more":    func() error { _, err := l.store.Apply(t.Context(), put("x")); return err },
			"apply there, again": func() error { _, err := others[0].store.Apply(t.Context(), put("x")); return err },
		} {
			var not *NotSentError
			if err := do(); !errors.Is(err, ErrBusy) || !errors.As(err, &not) || errors.Is(err, ErrUnknown) {
				t.Errorf("%s: %v, want busy", name, err)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v to say so", took)
		}
		c.net.HealAll()
		for range queueLength + 1 {
			<-done // acknowledged, or refused when the leader was deposed
		}
		if n := l.store.calls.count(); n > 0 {
			t.Errorf("%d calls are still counted", n)
		}
	})
}

// TestDismiss leaves parcels in the queue of a store that stops.
func TestDismiss(t *testing.T) {
	s := &Store{queue: make(chan *parcel, 8)}
	s.stats = newStats(nil, s)
	waiting := parcels([]int{1, 1, -1, 1})
	for _, w := range waiting[1:] {
		s.queue <- w
	}
	s.dismiss(waiting[0])
	for i, w := range waiting {
		var not *NotSentError
		select {
		case <-w.of.done:
			if i == 2 || !errors.Is(w.out.Err, ErrClosed) || !errors.As(w.out.Err, &not) {
				t.Errorf("parcel %d: %v", i, w.out.Err)
			}
		default:
			if i != 2 {
				t.Errorf("parcel %d has no answer", i)
			}
		}
	}
}

func TestCloseAnswersEveryone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		time.Sleep(time.Second)
		c.net.Isolate(c.hosts[l.id])
		s := l.store
		const n = 700
		done := make(chan answer, n)
		for i := range n {
			go func() {
				_, err := s.Propose(context.Background(), put(fmt.Sprintf("p%d", i)))
				done <- answer{err: err, at: time.Now()}
			}()
		}
		synctest.Wait()
		began := time.Now()
		c.stop(l.id)
		for range n {
			switch a := <-done; {
			case a.err == nil:
				t.Fatal("acknowledged by nobody")
			case a.at.Sub(began) > 2*time.Second:
				t.Fatalf("it took %v to answer", a.at.Sub(began))
			}
		}
		c.net.HealAll()
	})
}

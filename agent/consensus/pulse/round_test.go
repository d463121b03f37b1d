package pulse

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// ids are the node IDs of some letters.
func ids(letters string) (list []peer.ID) {
	for i := range len(letters) {
		list = append(list, nodeID(letters[i]))
	}
	return list
}

const way = 5 * time.Millisecond // from one server to another

func TestRound(t *testing.T) {
	cases := []struct {
		name   string
		n      int    // servers; a asks
		down   string // those that are off from the start
		hang   string // those that cannot be reached any more when the round begins
		terms  map[byte]uint64
		voters string
		want   error
		took   time.Duration
	}{
		{name: "alone", n: 1, voters: "a"},
		{name: "alone, and others do not vote", n: 3, voters: "a", hang: "bc"},
		{name: "no voters", n: 2, want: ErrDown},
		{name: "a majority of 2", n: 2, voters: "ab", took: 2 * way},
		{name: "no majority of 2", n: 2, voters: "ab", down: "b", want: ErrDown},
		{name: "3 of 3", n: 3, voters: "abc", took: 2 * way},
		{name: "2 of 3", n: 3, voters: "abc", down: "c", took: 2 * way},
		{name: "2 of 3, the first hangs", n: 3, voters: "abc", hang: "b", took: hedge + 2*way},
		{name: "2 of 3, the second hangs", n: 3, voters: "abc", hang: "c", took: 2 * way},
		{name: "1 of 3", n: 3, voters: "abc", down: "bc", want: ErrDown},
		{name: "1 of 3, one hangs", n: 3, voters: "abc", down: "b", hang: "c", want: context.DeadlineExceeded, took: time.Second},
		{name: "5 of 5", n: 5, voters: "abcde", took: 2 * way},
		{name: "3 of 5", n: 5, voters: "abcde", down: "b", hang: "e", took: 2 * way},
		{name: "2 of 5", n: 5, voters: "abcde", down: "bcd", want: ErrDown},
		{name: "2 of 5, others hang", n: 5, voters: "abcde", hang: "bcd", want: context.DeadlineExceeded, took: time.Second},
		{name: "2 of 4 are no majority", n: 4, voters: "abcd", down: "bc", want: ErrDown},
		{name: "a server that does not vote does not help", n: 4, voters: "abc", down: "bc", want: ErrDown},
		{name: "we do not vote, 2 of 3 do", n: 4, voters: "bcd", down: "d", took: 2 * way},
		{name: "we do not vote, 1 of 2 does", n: 3, voters: "bc", down: "c", want: ErrDown},
		{name: "we do not vote, the only one does", n: 2, voters: "b", took: 2 * way},
		{name: "we do not vote, the only one is down", n: 2, voters: "b", down: "b", want: ErrDown},
		{name: "one that is named twice", n: 3, voters: "abbbc", hang: "c", want: context.DeadlineExceeded, took: time.Second},
		{name: "a higher term", n: 3, voters: "abc", terms: map[byte]uint64{'b': 8}, hang: "c", want: ErrDeposed, took: 2 * way},
		{name: "a lower term", n: 3, voters: "abc", terms: map[byte]uint64{'b': 6}, hang: "c", took: 2 * way},
		{name: "we are in a higher term", n: 3, voters: "abc", terms: map[byte]uint64{'a': 8}, want: ErrDeposed},
		{name: "alone in a higher term", n: 1, voters: "a", terms: map[byte]uint64{'a': 8}, want: ErrDeposed},
		{name: "a higher term of one that does not vote", n: 3, voters: "ab", terms: map[byte]uint64{'c': 8}, took: 2 * way},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			run(t, tc.n, func(l *lab) {
				l.net.SetDelay(way)
				for _, s := range l.servers {
					s.setTerm(7)
					if in(tc.down, s) {
						s.ln.Close()
						continue
					}
					s.start()
				}
				time.Sleep(second / 2) // between two beats
				for _, s := range l.servers {
					if in(tc.hang, s) {
						l.net.Isolate(s.host)
					}
					if term := tc.terms[s.id[0]]; term != 0 {
						s.setTerm(term) // no beat has told of it
					}
				}
				began := time.Now()
				err := l.servers[0].hub.Round(l.soon(time.Second), ids(tc.voters), 7)
				if !errors.Is(err, tc.want) {
					l.Errorf("error %v, want %v", err, tc.want)
				}
				l.took(began, tc.took)
				if n := len(l.servers[0].hub.waiting); n != 0 {
					l.Errorf("%d questions are left", n)
				}
			})
		})
	}
}

func in(letters string, s *server) bool {
	for i := range len(letters) {
		if nodeID(letters[i]) == s.id {
			return true
		}
	}
	return false
}

// played starts a hub on a with the other servers played by the test.
func (l *lab) played() (a *server, others []wire) {
	a = l.servers[0]
	a.setTerm(7)
	a.start()
	for _, s := range l.servers[1:] {
		others = append(others, s.accept())
	}
	return a, others
}

// round starts a round on the servers of a lab whose answers the test gives.
func (s *server) round(voters string) (result func() error) {
	done := make(chan error, 1)
	ctx := s.lab.soon(time.Second)
	go func() { done <- s.hub.Round(ctx, ids(voters), 7) }()
	synctest.Wait()
	return func() error {
		synctest.Wait()
		select {
		case err := <-done:
			return err
		default:
			return errOpen
		}
	}
}

var errOpen = errors.New("not ended yet")

func answer(q frame) frame { return frame{kind: kindAnswer, nonce: q.nonce, Facts: Facts{Term: 7}} }

func TestRoundCountsNoAnswerToAnEarlierOne(t *testing.T) {
	run(t, 3, func(l *lab) {
		a, others := l.played()
		b := others[0]
		result := a.round("abc")
		early := b.next(kindAsk)
		time.Sleep(time.Second)
		if err := result(); !errors.Is(err, context.DeadlineExceeded) {
			l.Fatal(err)
		}
		result = a.round("abc")
		q := b.next(kindAsk)
		if q.nonce == early.nonce {
			l.Fatal("the same nonce twice")
		}
		b.send(answer(early), answer(frame{}), answer(frame{nonce: q.nonce + 1}))
		if err := result(); err != errOpen {
			l.Fatalf("a late answer was counted: %v", err)
		}
		b.send(answer(q))
		if err := result(); err != nil {
			l.Fatal(err)
		}
		closeAll(others)
	})
}

func TestRoundCountsEachVoterOnce(t *testing.T) {
	run(t, 5, func(l *lab) {
		a, others := l.played()
		result := a.round("abcde")
		q := others[0].next(kindAsk)
		for range 10 { // more than there is room for answers
			others[0].send(answer(q))
		}
		if err := result(); err != errOpen {
			l.Fatalf("one voter was counted more than once: %v", err)
		}
		others[1].send(answer(q))
		if err := result(); err != nil {
			l.Fatal(err)
		}
		closeAll(others)
	})
}

func TestRoundCountsOnlyThoseItAsked(t *testing.T) {
	run(t, 4, func(l *lab) {
		a, others := l.played()
		result := a.round("abc")
		q := others[0].next(kindAsk)
		others[2].send(answer(q)) // d does not vote, and knows the nonce
		if err := result(); err != errOpen {
			l.Fatalf("d was counted: %v", err)
		}
		d := answer(q)
		d.Term = 8
		others[2].send(d)
		if err := result(); err != errOpen {
			l.Fatalf("d deposed us: %v", err)
		}
		others[1].send(answer(q)) // c votes, but was not asked yet
		if err := result(); err != errOpen {
			l.Fatalf("c was counted: %v", err)
		}
		others[0].send(answer(q))
		if err := result(); err != nil {
			l.Fatal(err)
		}
		closeAll(others)
	})
}

// TestRoundAsksAsManyAsItNeeds holds that a round asks those who have answered the last
// one, and the others only when these take long or are lost.
func TestRoundAsksAsManyAsItNeeds(t *testing.T) {
	run(t, 3, func(l *lab) {
		a, others := l.played()
		b, c := others[0], others[1]
		result := a.round("abc")
		q := b.next(kindAsk)
		c.none(kindAsk)
		time.Sleep(hedge)
		if late := c.next(kindAsk); late.nonce != q.nonce {
			l.Fatal("c was asked something else")
		}
		c.send(answer(q))
		if err := result(); err != nil {
			l.Fatal(err)
		}
		result = a.round("abc") // c was quicker
		q = c.next(kindAsk)
		b.none(kindAsk)
		c.Close() // and is lost now
		b.send(answer(b.next(kindAsk)))
		if err := result(); err != nil {
			l.Fatal(err)
		}
		closeAll(others[:1])
	})
}

func TestRoundCountsOnlyAnswers(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, others := l.played()
		result := a.round("ab")
		q := others[0].next(kindAsk)
		for _, k := range []kind{kindLost, kindBeat, kindAsk, kindRevision, kindRefused, kindStand, 200} {
			f := answer(q)
			f.kind = k
			others[0].send(f)
			if err := result(); err != errOpen {
				l.Fatalf("kind %d was counted: %v", k, err)
			}
		}
		others[0].send(answer(q))
		if err := result(); err != nil {
			l.Fatal(err)
		}
		closeAll(others)
	})
}

func TestRoundGivesUpWhenTooFewAreLeft(t *testing.T) {
	run(t, 5, func(l *lab) {
		a, others := l.played()
		result := a.round("abcde")
		for i, w := range others {
			if err := result(); err != errOpen {
				l.Fatalf("ended with %d away: %v", i, err)
			}
			w.Close()
			if i == 2 {
				break
			}
		}
		if err := result(); !errors.Is(err, ErrDown) {
			l.Fatalf("error %v, want ErrDown", err)
		}
		closeAll(others)
	})
}

// The answer to a question that went out on a connection that was replaced cannot
// come on the new one.
func TestAskFailsWhenItsConnectionIsReplaced(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		b.start()
		first := a.call(b)
		first.send(frame{kind: kindBeat})
		done := make(chan error, 1)
		go func() {
			_, err := b.hub.Ask(l.soon(time.Second), a.id)
			done <- err
		}()
		q := first.next(kindAsk)
		began := time.Now()
		next := a.call(b)
		next.send(frame{kind: kindBeat}, answer(q))
		if err := <-done; !errors.Is(err, ErrDown) {
			l.Errorf("error %v, want ErrDown", err)
		}
		l.took(began, 0)
		first.Close()
		next.Close()
	})
}

// Whoever asks at the same time gets the answer to its own question.
func TestRoundsAtOnce(t *testing.T) {
	run(t, 3, func(l *lab) {
		l.net.SetDelay(way)
		l.startAll()
		time.Sleep(time.Second)
		const n = 100
		errs := make(chan error, 3*n)
		for i, s := range l.servers {
			for range n {
				go func() {
					if err := s.hub.Round(l.soon(time.Second), ids("abc"), 1); err != nil {
						err = fmt.Errorf("server %d: %w", i, err)
						errs <- err
						return
					}
					errs <- nil
				}()
			}
		}
		for range cap(errs) {
			if err := <-errs; err != nil {
				l.Error(err)
			}
		}
	})
}

func closeAll(list []wire) {
	for _, w := range list {
		w.Close()
	}
}

package night

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// full lets what the page names as what may go take all the room on a node's disk.
func full(ctx context.Context, s *stage) error {
	victim := s.w.Nodes[s.rng.IntN(3)]
	other := s.w.Others(victim)[0]
	s.lost(victim, history.LossRestarted) // again and again
	pardon := victim.Excuse()
	old := []string{
		filepath.Join(victim.Data(), "raft.rolled-back-20260101T000000"), filepath.Join(victim.Data(), "before-recovery-20260101T000000"),
		filepath.Join(victim.Data(), "snapshots"),
	}
	for _, dir := range old {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "old"), make([]byte, 8<<20), 0o600); err != nil {
			return err
		}
	}
	if err := world.Fill(filepath.Join(old[s.rng.IntN(len(old))], "filler")); err != nil {
		return err
	}
	if err := s.doctorSays(ctx, victim, "disk space  0 B free"); err != nil {
		return err
	}
	if err := s.endsOver(ctx, victim); err != nil {
		return err
	}
	if _, err := s.w.Written(ctx, 10*time.Second, s.w.Others(victim)); err != nil {
		return fmt.Errorf("while a disk is full: %w", err)
	}
	if err := s.servesWithin(ctx, 10*time.Second, s.w.Others(victim)...); err != nil {
		return fmt.Errorf("while a disk is full: %w", err)
	}
	if err := s.status(ctx, other, "2 of 3 reachable"); err != nil {
		return err
	}
	s.saw("%s ended %s and its log says why; the others go on", victim.Name, times(len(victim.Deaths())))
	for _, dir := range old {
		if err := removeAll(dir); err != nil {
			return err
		}
	}
	// systemd starts it again, and so does the world.
	if err := s.w.Whole(ctx, wholeWithin); err != nil {
		return err
	}
	if err := s.status(ctx, victim, "3 of 3 reachable"); err != nil {
		return err
	}
	if err := s.caughtUp(ctx, victim, other); err != nil {
		return err
	}
	pardon()
	s.back(victim)
	s.saw("with room again it has caught up")
	return nil
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// doctorSays waits until usher doctor fails at a check.
func (s *stage) doctorSays(ctx context.Context, n *world.Node, check string) error {
	args, err := s.book.arguments(lineDoctor, nil)
	if err != nil {
		return err
	}
	var a world.Answer
	err = world.Until(ctx, 20*time.Second, "usher doctor fails at "+check, func(ctx context.Context) (err error) {
		if a, err = n.Usher(ctx, args...); err == nil && (a.Status == done || !failsAt(a.Out, check)) {
			err = fmt.Errorf("on %s it ends with %d:\n%s", n.Name, a.Status, a.Out)
		}
		return err
	})
	return errors.Join(err, s.transcript(n, a))
}

// failsAt reports whether one of doctor's lines is a failure of the check, and goes on like that.
func failsAt(text, check string) bool {
	for line := range strings.Lines(text) {
		if rest, failed := strings.CutPrefix(line, "failed "); failed && strings.HasPrefix(strings.Join(apart.Split(strings.TrimSpace(rest), -1), "  "), check) {
			return true
		}
	}
	return false
}

// endsOver writes much, until the agent has ended twice: it goes on while the room lasts that
// its log has taken beforehand. Its log says what the page says.
func (s *stage) endsOver(ctx context.Context, victim *world.Node) error {
	const writers = 24
	others := s.w.Others(victim)
	busy, cancel := context.WithTimeout(ctx, 2*time.Minute)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i := range writers {
		wg.Go(func() { stuff(busy, others[i%len(others)], fmt.Sprintf("stuff-%d", i)) })
	}
	return world.Until(busy, 2*time.Minute, "the agent ends again and again", func(context.Context) error {
		deaths := victim.Deaths()
		if len(deaths) < 2 {
			return fmt.Errorf("it ended %s", times(len(deaths)))
		}
		text, err := os.ReadFile(victim.Log())
		if err == nil && !strings.Contains(string(text), "no space left on device") {
			err = errors.New("its log does not say that there is no space")
		}
		return err
	})
}

// stuff fills the log: a task is paused again and again, for long reasons.
func stuff(ctx context.Context, n *world.Node, task string) {
	reason := strings.Repeat("room ", 48)
	for i := 0; ctx.Err() == nil; i++ {
		try, cancel := context.WithTimeout(ctx, writePatient)
		if i%100 == 0 {
			_, _ = n.Client.PutTask(try, task, specOf(0)) // again and again: an answer may be lost
		}
		_, _ = n.Client.PauseTask(try, task, fmt.Sprintf("%d %s", i, reason))
		cancel()
	}
}

// caughtUp compares the indexes that two nodes show.
func (s *stage) caughtUp(ctx context.Context, n, than *world.Node) error {
	want, err := s.indexOf(ctx, than)
	if err != nil {
		return err
	}
	return world.Until(ctx, 20*time.Second, n.Name+" has caught up", func(ctx context.Context) error {
		got, err := s.indexOf(ctx, n)
		if err == nil && got < want {
			err = fmt.Errorf("it is at index %d, not %d", got, want)
		}
		return err
	})
}

package night

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ushercluster/usher/scripts/lab/world"
)

// Exit codes of usher that the runbook counts on.
const (
	done      = 0
	asks      = 2 // it would ask, and standard input is no terminal
	noQuorum  = 3
	permanent = 78
)

// types runs a line of the runbook on a node's machine, and more arguments behind it. It
// has to end with the code.
func (s *stage) types(ctx context.Context, n *world.Node, want int, line string, means map[string]string, more ...string) (world.Answer, error) {
	args, err := s.book.arguments(line, means)
	if err != nil {
		return world.Answer{}, err
	}
	return s.runs(ctx, n, want, append(args, more...)...)
}

// runs is types for what no page prints.
func (s *stage) runs(ctx context.Context, n *world.Node, want int, args ...string) (world.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	a, err := n.Usher(ctx, args...)
	if err != nil {
		return a, err
	}
	if err := s.transcript(n, a); err != nil {
		return a, err
	}
	if a.Status != want {
		return a, fmt.Errorf("%s on %s ended with %d, not %d:\n%s%s", a.Line, n.Name, a.Status, want, a.Out, a.Err)
	}
	return a, nil
}

// transcript keeps what a command printed.
func (s *stage) transcript(n *world.Node, a world.Answer) error {
	f, err := os.OpenFile(filepath.Join(s.dir, "commands.txt"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("keep what a command printed: %w", err)
	}
	_, err = fmt.Fprintf(f, "--- %s, %s: %s\n%s%s--- exit %d\n\n", time.Now().UTC().Format("15:04:05"), n.Name, a.Line, a.Out, a.Err, a.Status)
	return errors.Join(err, f.Close())
}

// starts is systemctl start usher.
func (s *stage) starts(n *world.Node) error {
	if err := s.book.has(lineStart); err != nil {
		return err
	}
	return n.Start()
}

// stops is systemctl stop usher.
func (s *stage) stops(ctx context.Context, n *world.Node) error {
	if err := s.book.has(lineStop); err != nil {
		return err
	}
	return n.Stop(ctx)
}

// joins starts agents on new machines with the command that a token was printed with; members
// are those of the cluster afterwards.
func (s *stage) joins(printed string, members []*world.Node, fresh ...*world.Node) error {
	env, args, err := joining(printed)
	if err != nil {
		return err
	}
	s.w.Members(slices.Concat(members, fresh)...)
	for _, n := range fresh {
		n.Next(env, args)
		if err := n.Start(); err != nil {
			return err
		}
	}
	return nil
}

// status waits until usher status on a node shows all of the words.
func (s *stage) status(ctx context.Context, n *world.Node, words ...string) error {
	var a world.Answer
	args, err := s.book.arguments(lineStatus, nil)
	if err != nil {
		return err
	}
	err = world.Until(ctx, 30*time.Second, fmt.Sprintf("usher status on %s shows %q", n.Name, words), func(ctx context.Context) (err error) {
		if a, err = n.Usher(ctx, args...); err != nil {
			return err
		}
		for _, w := range words {
			if !strings.Contains(a.Out, w) {
				return fmt.Errorf("it ends with %d and shows\n%s%s", a.Status, a.Out, a.Err)
			}
		}
		return nil
	})
	return errors.Join(err, s.transcript(n, a))
}

// keyFile holds the recovery key, as an operator has it.
func (s *stage) keyFile() (string, error) {
	name := filepath.Join(s.w.Dir, "recovery.key")
	return name, os.WriteFile(name, []byte(s.w.RecoveryKey+"\n"), 0o600)
}

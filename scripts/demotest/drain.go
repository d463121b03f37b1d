//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/admin"
)

// usher is the command, pointed at a node.
func (s *stage) usher(ctx context.Context, n *node, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.o.usher, args...)
	cmd.Env = append(os.Environ(), "USHER_ADDRESS="+n.API, "USHER_TOKEN="+s.d.Token)
	return cmd
}

// drain drains a node through another one. The command may say that it is done only
// when the node has no session left, and does not before.
func (s *stage) drain(ctx context.Context) error {
	n := s.d.find(s.users[0].node)
	other := s.d.other(n)
	cmd := s.usher(ctx, other, "node", "drain", n.Name)
	progress, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(progress)
	left := -1
	for left < 0 && lines.Scan() {
		if _, text, ok := strings.Cut(lines.Text(), " is draining: "); ok {
			_, _ = fmt.Sscanf(text, "%d session", &left) // other lines have no number
		}
	}
	if left <= 0 {
		return fmt.Errorf("the command ended while %s had sessions, its last words: %q (%w)", n.Name, lines.Text(), cmd.Wait())
	}
	fmt.Printf("   %s\n", lines.Text())
	if err := s.closeAll(ctx, other, n); err != nil {
		return err
	}
	for lines.Scan() {
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	still, err := n.client.Sessions(ctx, admin.SessionFilter{Node: n.Name}, admin.Stale())
	if err != nil || len(still.Items) > 0 {
		return fmt.Errorf("drained with %d sessions (%w)", len(still.Items), err)
	}
	if _, err := other.client.Activate(ctx, n.Name, admin.StateChange{}); err != nil {
		return err
	}
	return s.anew(ctx, n)
}

// closeAll ends the sessions on a node.
func (s *stage) closeAll(ctx context.Context, through, n *node) error {
	list := func(ctx context.Context, opts ...admin.Option) (admin.List[admin.Session], error) {
		return through.client.Sessions(ctx, admin.SessionFilter{Node: n.Name}, opts...)
	}
	all, err := admin.All(ctx, list)
	if err != nil {
		return err
	}
	for _, session := range all.Items {
		if err := through.client.CloseSession(ctx, session.ID); err != nil {
			return fmt.Errorf("close session: %w", err)
		}
	}
	return nil
}

// anew gives the users of a node that was drained new sessions.
func (s *stage) anew(ctx context.Context, n *node) error {
	for _, u := range s.users {
		if u.node != n.Name {
			continue
		}
		if u.socket != nil {
			_ = u.socket.CloseNow()
			u.socket = nil
		}
		jar, err := cookiejar.New(nil)
		if err != nil {
			return err
		}
		u.client = &http.Client{Jar: jar, Transport: u.client.Transport}
		if u.node, err = u.ask(ctx, s.d.other(n).Door); err != nil {
			return err
		}
	}
	return nil
}

// refused checks that commands which need a majority say so, with exit code 3 and
// the step to take.
func (s *stage) refused(ctx context.Context, last *node) error {
	const noQuorum = 3
	_, err := until(ctx, 5*time.Second, "node without a quorum", func(ctx context.Context) bool {
		st, err := last.client.Status(ctx, admin.Stale())
		return err == nil && !st.Quorum
	})
	if err != nil {
		return err
	}
	commands := [][]string{
		{"setting", "list"}, {"setting", "export"}, {"setting", "unset", "session.idle_timeout"}, {"task", "list"}, {"task", "run", taskName},
		{"token", "list"}, {"join-token", "create"}, {"central", "move"}, {"node", "drain", last.Name, "--detach"}, {"node", "remove", last.Name, "--yes", "--force"},
	}
	wrong := make([]error, len(commands))
	var wg sync.WaitGroup
	for i, args := range commands {
		wg.Go(func() {
			var out bytes.Buffer
			cmd := s.usher(ctx, last, args...)
			cmd.Stderr = &out
			err := cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != noQuorum || !strings.Contains(out.String(), "\nnext: ") {
				wrong[i] = fmt.Errorf("usher %s without a quorum: %w: %s", strings.Join(args, " "), err, out.String())
			}
		})
	}
	wg.Wait()
	if err = errors.Join(wrong...); err != nil {
		return err
	}
	fmt.Printf("   %d commands exit with %d\n", len(commands), noQuorum)
	return nil
}

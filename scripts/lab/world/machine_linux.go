package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ushercluster/usher/agent/admin"
)

// LoseDisk kills the agent and takes its disk away with all that is on it; a new, empty
// one is there instead.
func (n *Node) LoseDisk(ctx context.Context) error {
	if err := n.Kill(ctx); err != nil {
		return err
	}
	if n.disk == nil {
		return errors.Join(os.RemoveAll(n.Top()), os.Mkdir(n.Top(), ownerExecution))
	}
	if err := n.disk.detach(ctx); err != nil {
		return err
	}
	if err := n.disk.format(ctx); err != nil {
		return err
	}
	return n.disk.attach(ctx)
}

// Members says who is in the cluster from now on; all other machines are spare ones. No
// other method of the world may be under way.
func (w *World) Members(nodes ...*Node) {
	w.Nodes, w.Spare = nodes, nil
	for _, n := range w.all {
		if w.Find(n.Name) == nil {
			w.Spare = append(w.Spare, n)
		}
	}
}

// Next makes the next start, and only that, have more arguments and environment.
func (n *Node) Next(env, args []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.env, n.args = env, args
}

// API is where an agent's admin API listens on its own machine, if the world has such.
const API = "127.0.0.1:14748"

// As is a client of the node's admin API with a token. The socket would not do: whoever may
// open that is let in as who they are, with any token.
func (n *Node) As(token string) (*admin.Client, error) {
	return admin.NewClient(admin.ClientConfig{Address: "http://" + API, Token: token, Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
		return n.Dial(ctx, address)
	}})
}

// Answer is what a command printed and how it ended.
type Answer struct {
	Line   string // as it was typed
	Out    string // standard output
	Err    string // standard error
	Status int    // exit code
}

// Usher runs a command of usher on the node's machine, beside its agent, and returns when it
// has ended, with whatever code. Own has what commands without an agent need.
func (n *Node) Usher(ctx context.Context, args ...string) (Answer, error) {
	line := append(append(n.enter(), n.w.cfg.Binary), args...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = append(plainEnv(), "USHER_LAB_CLOCK="+n.ClockFile(), "USHER_ADDRESS=unix:"+n.Socket)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	a := Answer{Line: "usher " + strings.Join(args, " "), Out: out.String(), Err: errs.String(), Status: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return a, fmt.Errorf("%s on %s: %w", a.Line, n.Name, err)
	}
	return a, ctx.Err()
}

// CopyData copies a directory of the data directory, as it is now; what is not there is not
// copied.
func (n *Node) CopyData(name, to string) error {
	from := filepath.Join(n.Data(), name)
	if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return run(context.Background(), "cp", "-a", "--sparse=always", from, to)
}

// Own are the arguments by which commands without an agent know this machine.
func (n *Node) Own() []string { return n.own() }

// Fill makes a file that leaves no room on its file system.
func Fill(name string) error {
	file, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("fill the disk: %w", err)
	}
	defer file.Close()
	var end int64
	for size := int64(64 << 20); size >= 4096; {
		switch err := unix.Fallocate(int(file.Fd()), 0, end, size); {
		case errors.Is(err, unix.ENOSPC):
			size /= 2
		case err != nil:
			return fmt.Errorf("fill the disk: %w", err)
		default:
			end += size
		}
	}
	return nil
}

//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/ushercluster/usher/agent/admin"
)

// demo is `usher demo` as a child process.
type demo struct {
	cmd   *exec.Cmd
	Token string  `json:"token"`
	Nodes []*node `json:"nodes"`
}

// node is one agent of the demo.
type node struct {
	Name   string    `json:"name"`
	PID    int       `json:"pid"`
	Door   string    `json:"door"`
	API    string    `json:"api"`
	Engine string    `json:"engine"`
	Start  string    `json:"start"`
	again  *exec.Cmd // when we started it again
	client *admin.Client
}

func startDemo(ctx context.Context, usher string) (*demo, error) {
	d := &demo{cmd: exec.Command(usher, "demo", "--output", "json")}
	d.cmd.Stderr = os.Stderr
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = d.cmd.Process.Kill() })()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("the demo did not become ready: %w", err)
	}
	if err := json.Unmarshal(line, d); err != nil {
		return nil, fmt.Errorf("the demo's line: %w", err)
	}
	fmt.Printf("demo ready after %s\n", time.Since(began).Round(10*time.Millisecond))
	for _, n := range d.Nodes {
		if n.client, err = admin.NewClient(admin.ClientConfig{Address: n.API, Token: d.Token}); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// stop ends the demo as Ctrl-C does and checks that nothing is left.
func (d *demo) stop() error {
	for _, n := range d.Nodes {
		if n.again != nil {
			_ = n.again.Process.Signal(syscall.SIGTERM)
			_ = n.again.Wait() // it may have been killed; either way it is gone
		}
	}
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- d.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("the demo ended with: %w", err)
		}
	case <-time.After(30 * time.Second):
		return errors.Join(errors.New("the demo does not end"), d.cmd.Process.Kill())
	}
	for _, n := range d.Nodes {
		if err := syscall.Kill(n.PID, 0); err == nil {
			return fmt.Errorf("%s (process %d) outlived the demo", n.Name, n.PID)
		}
	}
	return nil
}

// kill is kill -9.
func (n *node) kill() error {
	fmt.Printf("   kill -9 %s\n", n.Name)
	if err := syscall.Kill(n.PID, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", n.Name, err)
	}
	if n.again != nil {
		_ = n.again.Wait() // killed
		n.again = nil
	}
	return nil
}

// start runs the command that the demo printed for it.
func (n *node) start() error {
	args := strings.Fields(n.Start)
	n.again = exec.Command(args[0], args[1:]...)
	if err := n.again.Start(); err != nil {
		return fmt.Errorf("start %s again: %w", n.Name, err)
	}
	n.PID = n.again.Process.Pid
	return nil
}

// until tries f every 50 ms until it holds.
func until(ctx context.Context, limit time.Duration, what string, f func(context.Context) bool) (time.Duration, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !f(ctx) {
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("no %s within %s", what, limit)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return time.Since(began), nil
}

// back waits until the node has caught up with the others.
func (d *demo) back(ctx context.Context, n *node) error {
	took, err := until(ctx, 30*time.Second, n.Name+" that has caught up", func(ctx context.Context) bool {
		want, err := d.other(n).client.Status(ctx)
		if err != nil {
			return false
		}
		st, err := n.client.Status(ctx)
		if err != nil || !st.Quorum || st.Stale || st.Index < want.Index || st.Counts.EnginesHealthy != len(d.Nodes) {
			return false
		}
		// The settings are felt at the door a moment after the state is there.
		stranger := &user{client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
		name, err := stranger.ask(ctx, n.Door)
		return err == nil && name != ""
	})
	if err == nil {
		fmt.Printf("   %s is back and has caught up after %s\n", n.Name, took.Round(10*time.Millisecond))
	}
	return err
}

// other is any node but n that lives.
func (d *demo) other(n *node) *node {
	for _, o := range d.Nodes {
		if o != n && syscall.Kill(o.PID, 0) == nil {
			return o
		}
	}
	return n
}

func (d *demo) find(name string) *node {
	for _, n := range d.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

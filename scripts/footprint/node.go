package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/shirou/gopsutil/v4/process"
)

// Bounds of waiting.
const (
	pollEvery   = 5 * time.Millisecond
	startWithin = 20 * time.Second
	stopWithin  = 20 * time.Second
	settle      = 5 * time.Second // from the first leader to the beginning of idling
)

// node is one agent that this program starts, and stops before it ends.
type node struct {
	binary string
	args   []string
	api    *http.Client
	log    bytes.Buffer

	cmd   *exec.Cmd // nil: not running
	ended chan error
}

// newNode makes a cluster whose only node it is.
func newNode(ctx context.Context, binary, dir string) (*node, error) {
	documents, data := filepath.Join(dir, "documents"), filepath.Join(dir, "data")
	if err := os.Mkdir(documents, 0o755); err != nil {
		return nil, fmt.Errorf("make documents: %w", err)
	}
	if err := os.WriteFile(filepath.Join(documents, "sales.csv"), []byte("region,revenue\nnorth,1\nsouth,2\n"), 0o644); err != nil {
		return nil, fmt.Errorf("make documents: %w", err)
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	own := []string{"--data-dir", data, "--name", "footprint", "--bind", port}
	out, err := exec.CommandContext(ctx, binary, append([]string{"init"}, own...)...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("usher init: %w: %s", err, out)
	}
	socket := filepath.Join(data, "usher.sock")
	return &node{
		binary: binary,
		args: append([]string{"agent", "--door", "127.0.0.1:0", "--api", "off", "--socket", socket,
			"--engine", "builtin", "--documents", documents}, own...),
		api: &http.Client{Timeout: time.Second, Transport: &http.Transport{
			DisableKeepAlives: true, // a restarted node has another socket behind the same path
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			},
		}},
	}, nil
}

// freePort is an address on loopback that nobody listens on now. The cluster port
// cannot be 0: the node's address is part of the state.
func freePort(ctx context.Context) (string, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return ln.Addr().String(), ln.Close()
}

// start returns how long it took from the process's start until it knew a leader.
func (n *node) start(ctx context.Context) (time.Duration, error) {
	n.log.Reset()
	cmd := exec.Command(n.binary, n.args...)
	cmd.Stderr = &n.log
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the agent: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	n.cmd, n.ended = cmd, ended
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for time.Since(began) < startWithin {
		if n.knowsLeader(ctx) {
			return time.Since(began), nil
		}
		select {
		case <-poll.C:
		case err := <-ended:
			n.cmd = nil
			return 0, fmt.Errorf("the agent ended while it started: %w\n%s", err, n.log.Bytes())
		case <-ctx.Done():
			return 0, errors.Join(ctx.Err(), n.stop())
		}
	}
	return 0, errors.Join(fmt.Errorf("the agent knew no leader within %s", startWithin), n.stop())
}

// knowsLeader asks the node what it knows itself.
func (n *node) knowsLeader(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/v1/status?stale", nil)
	if err != nil {
		return false
	}
	resp, err := n.api.Do(req)
	if err != nil {
		return false // it does not listen yet
	}
	defer resp.Body.Close()
	var status struct {
		Quorum  bool             `json:"quorum"`
		Central *json.RawMessage `json:"central"`
	}
	return json.NewDecoder(resp.Body).Decode(&status) == nil && status.Quorum && status.Central != nil
}

// stop ends the agent as a service manager would.
func (n *node) stop() error {
	if n.cmd == nil {
		return nil
	}
	cmd := n.cmd
	n.cmd = nil
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = cmd.Process.Kill() // Windows knows no other way
	}
	select {
	case err := <-n.ended:
		if err != nil {
			return fmt.Errorf("the agent did not end well: %w\n%s", err, n.log.Bytes())
		}
		return nil
	case <-time.After(stopWithin):
		_ = cmd.Process.Kill()
		<-n.ended
		return fmt.Errorf("the agent did not stop within %s of SIGTERM and was killed", stopWithin)
	}
}

// idle leaves the agent alone for d and returns its memory at the end and the
// processor time that it took, as a part of one core.
func (n *node) idle(ctx context.Context, d time.Duration) (rss uint64, processor float64, err error) {
	p, err := process.NewProcessWithContext(ctx, int32(n.cmd.Process.Pid))
	if err != nil {
		return 0, 0, fmt.Errorf("look at the agent: %w", err)
	}
	if err := wait(ctx, settle); err != nil {
		return 0, 0, err
	}
	before, err := p.TimesWithContext(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("read processor time: %w", err)
	}
	began := time.Now()
	if err := wait(ctx, d); err != nil {
		return 0, 0, err
	}
	after, err := p.TimesWithContext(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("read processor time: %w", err)
	}
	took := time.Since(began)
	mem, err := p.MemoryInfoWithContext(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("read memory: %w", err)
	}
	used := after.User + after.System - before.User - before.System
	return mem.RSS, used / took.Seconds(), nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

//go:build unix

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// EtcdClient talks to the process of scripts/etcdbench, which holds etcd's own
// client: one line of JSON is asked, one or more are answered. The process keeps
// etcd's dependencies out of usher's module and its processor time apart. It
// belongs to one goroutine.
type EtcdClient struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// EtcdAsk is a question to scripts/etcdbench; see there.
type EtcdAsk struct {
	Do         string        `json:"do"`
	Kind       string        `json:"kind,omitempty"`
	Workers    int           `json:"workers,omitempty"`
	Member     int           `json:"member"`
	Keys       int           `json:"keys,omitempty"`
	ValueBytes int           `json:"value_bytes,omitempty"`
	Warm       time.Duration `json:"warm,omitempty"`
	Time       time.Duration `json:"time,omitempty"`
	After      int64         `json:"after,omitempty"`
}

// EtcdTold is an answer of it.
type EtcdTold struct {
	Event     string          `json:"event"` // begin and end of a measurement, else done
	Error     string          `json:"error"`
	Leader    int             `json:"leader"`
	Latencies []time.Duration `json:"latencies"`
	Began     int64           `json:"began"`
	Ended     int64           `json:"ended"`
	Acks      []int64         `json:"acks"`
	Fresh     int64           `json:"fresh"` // the first of a write that began within
	Writes    int             `json:"writes"`
	Unknown   int             `json:"unknown"`
}

func openEtcdClient(ctx context.Context, binary string, members []string) (*EtcdClient, error) {
	cmd := exec.CommandContext(ctx, binary, strings.Join(members, ","))
	cmd.Env, cmd.Stderr = plainEnv(), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start etcd's client: %w", err)
	}
	return &EtcdClient{cmd: cmd, in: in, out: bufio.NewReader(out)}, nil
}

func (c *EtcdClient) setUp(ctx context.Context) error {
	_, err := c.Ask(ctx, EtcdAsk{Do: "setup"}, nil)
	return err
}

// Ask waits for the answer; event is called for those that come before it. When ctx
// ends the process is killed.
func (c *EtcdClient) Ask(ctx context.Context, q EtcdAsk, event func(name string) error) (EtcdTold, error) {
	line, err := json.Marshal(q)
	if err != nil {
		return EtcdTold{}, fmt.Errorf("encode question: %w", err)
	}
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		return EtcdTold{}, fmt.Errorf("ask etcd's client: %w", errors.Join(err, ctx.Err()))
	}
	for {
		line, err := c.out.ReadBytes('\n')
		if err != nil {
			return EtcdTold{}, fmt.Errorf("listen to etcd's client: %w", errors.Join(err, ctx.Err()))
		}
		var told EtcdTold
		if err := json.Unmarshal(line, &told); err != nil {
			return EtcdTold{}, fmt.Errorf("read what etcd's client says: %w", err)
		}
		switch {
		case told.Error != "":
			return told, fmt.Errorf("etcd's client: %s: %s", q.Do, told.Error)
		case told.Event == "done":
			return told, nil
		case event != nil:
			if err := event(told.Event); err != nil {
				return told, err
			}
		}
	}
}

// PID of the client's process.
func (c *EtcdClient) PID() int { return c.cmd.Process.Pid }

// Close ends the process.
func (c *EtcdClient) Close() error {
	c.in.Close() // it ends with its input
	done := make(chan error, 1)
	go func() { done <- c.cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(stopWithin):
		_ = c.cmd.Process.Kill()
		return <-done
	}
}

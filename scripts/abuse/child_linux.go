package main

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

// childWithin bounds what a child takes to answer, and to end.
const childWithin = 90 * time.Second

// child is a copy of this program in another role. It ends with its standard input, so that
// it does not outlive the driver.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	words strings.Builder
}

// start makes one that is killed when ctx ends. Its task is given as JSON.
func start(ctx context.Context, role string, task any) (*child, error) {
	text, err := json.Marshal(task)
	if err != nil {
		return nil, fmt.Errorf("write the task: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	c := &child{cmd: exec.CommandContext(ctx, self, role, string(text))}
	c.cmd.Stderr = &c.words
	c.cmd.WaitDelay = time.Second
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is the driver's
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// line is the next one that it prints.
func (c *child) line() (string, error) {
	late := time.AfterFunc(childWithin, func() { _ = c.cmd.Process.Kill() })
	defer late.Stop()
	s, err := c.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("a child ended or was too slow: %w", err)
	}
	return s, nil
}

// ask has it print what became of the phase.
func (c *child) ask(out any) error {
	if _, err := io.WriteString(c.in, "mark\n"); err != nil {
		return fmt.Errorf("ask a child: %w", err)
	}
	return c.read(out)
}

func (c *child) read(out any) error {
	s, err := c.line()
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(s), out); err != nil {
		return fmt.Errorf("read what a child found: %w", err)
	}
	return nil
}

// end lets it end. With out, it says something at its end.
func (c *child) end(out any) error {
	err := c.in.Close()
	if out != nil && err == nil {
		err = c.read(out)
	}
	late := time.AfterFunc(childWithin, func() { _ = c.cmd.Process.Kill() })
	defer late.Stop()
	_, _ = io.Copy(io.Discard, c.out)
	if err = errors.Join(err, c.cmd.Wait()); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(c.words.String()))
	}
	return nil
}

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
)

// keeper is the demonstration's end of the process that makes its directory, holds
// the leash and removes the directory. See demo.
type keeper struct {
	dir   string
	stdin io.Closer // its end ends the keeper
	ended chan struct{}
	kill  func()
}

const (
	keeperStart = 10 * time.Second
	keeperGrace = 2 * time.Second // beyond the time that agents get
)

// keeperWord is the one line that a keeper says.
type keeperWord struct {
	Dir   string `json:"dir,omitempty"`
	Error string `json:"error,omitempty"`
	Next  string `json:"next,omitempty"`
}

func (p *program) keepCommand() *cli.Command {
	return &cli.Command{
		Name: "keep", Usage: "look after a demonstration until standard input ends", Hidden: true,
		Action: p.keepRun,
	}
}

// keepRun is the keeper's process. It ends with the demonstration, however that
// ends: the pipe to it breaks.
func (p *program) keepRun(c *cli.Context) error {
	if err := exactly(0).check(c); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // the demonstration may have ended before it is told
	dir, err := os.MkdirTemp("", demoPrefix)
	if err != nil {
		return p.keeperFails(fmt.Errorf("make demonstration directory: %w", err))
	}
	l, err := holdLeash(dir)
	if err != nil {
		return p.keeperFails(errors.Join(err, os.RemoveAll(dir)))
	}
	over := make(chan struct{})
	go func() { // nothing interrupts a read of standard input: the process ends around it
		defer close(over)
		_, _ = io.Copy(io.Discard, p.stdin)
	}()
	err = p.emitJSONLine(keeperWord{Dir: dir})
	if err == nil {
		select {
		case <-over:
		case <-p.signals:
		}
	}
	l.release(demoStopBound)
	return errors.Join(err, removeDemo(dir))
}

// keeperFails tells the demonstration, which shows it to people.
func (p *program) keeperFails(err error) error {
	f := explain(err)
	return errors.Join(err, p.emitJSONLine(keeperWord{Error: f.what.Error(), Next: f.next}))
}

// startKeeper returns when there is a directory whose leash is held.
func (p *program) startKeeper() (*keeper, error) {
	cmd := exec.Command(p.executable, "demo", "keep")
	cmd.Env = foreignEnv(os.Environ())
	ownGroup(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start demonstration: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start demonstration: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, failed("the demonstration runs this binary again: is it still there?", "start demonstration: %w", err)
	}
	k := &keeper{stdin: stdin, ended: make(chan struct{}), kill: func() { _ = cmd.Process.Kill() }} // it may have ended meanwhile
	late := time.AfterFunc(keeperStart, k.kill)
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	late.Stop()
	go func() {
		defer close(k.ended)
		_ = cmd.Wait() // how it ended says nothing that its end does not
	}()
	var word keeperWord
	switch err = errors.Join(err, json.Unmarshal(line, &word)); {
	case err != nil:
		k.close()
		return nil, failed("try again", "start demonstration: its keeper said nothing: %w", err)
	case word.Error != "":
		k.close()
		return nil, failed(word.Next, "%s", word.Error)
	}
	k.dir = word.Dir
	return k, nil
}

// close has the keeper end all agents and remove the directory, and waits for it.
func (k *keeper) close() {
	_ = k.stdin.Close()
	late := time.AfterFunc(demoStopBound+keeperGrace, k.kill)
	defer late.Stop()
	<-k.ended
}

//go:build unix

package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/shirou/gopsutil/v4/process"
)

// stopWithin bounds the end of a process that was told to stop.
const stopWithin = 20 * time.Second

// Process is a program that can be started again after its end. It belongs to one
// goroutine. What it prints is appended to a file.
type Process struct {
	Name string // for people
	args []string
	env  []string
	log  string

	cmd   *exec.Cmd // nil: it does not run
	ended chan error
}

// NewProcess is a program with its arguments that does not run yet. env comes on top of
// our environment, of which what configures usher, etcd or Go programs is kept away.
func NewProcess(name string, args, env []string, log string) *Process {
	return &Process{Name: name, args: args, env: env, log: log}
}

// PID of the process; zero while it does not run.
func (p *Process) PID() int {
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Start starts it; it must not be running.
func (p *Process) Start() error {
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log of %s: %w", p.Name, err)
	}
	defer out.Close() // the child has its own
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(plainEnv(), p.env...), out, out
	// A Ctrl-C is ours: we end what we started, in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.cmd, p.ended = cmd, make(chan error, 1)
	go func(ended chan<- error) { ended <- cmd.Wait() }(p.ended)
	return nil
}

// plainEnv keeps settings of the shell that we were started from away from what is
// measured.
func plainEnv() []string {
	var out []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "USHER_") && !strings.HasPrefix(kv, "ETCD") && !strings.HasPrefix(kv, "GO") {
			out = append(out, kv)
		}
	}
	return out
}

// Running reports whether it was started and did not end by itself.
func (p *Process) Running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case err := <-p.ended:
		p.ended <- err
		return false
	default:
		return true
	}
}

// Signal sends a signal to the process, such as SIGSTOP.
func (p *Process) Signal(s syscall.Signal) error {
	if p.cmd == nil {
		return fmt.Errorf("signal %s: it does not run", p.Name)
	}
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal %s: %w", p.Name, err)
	}
	return nil
}

// Kill is kill -9. at is taken right before the signal: the process does nothing
// after it.
func (p *Process) Kill() (at time.Time, err error) {
	at = time.Now()
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return at, err
	}
	<-p.ended // killed
	p.cmd = nil
	return at, nil
}

// Stop ends it as a service manager would, with force in the end. It is no error if
// it does not run.
func (p *Process) Stop() error {
	if p.cmd == nil {
		return nil
	}
	cmd := p.cmd
	p.cmd = nil
	_ = cmd.Process.Signal(syscall.SIGCONT) // it may have been stopped by us
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopWithin):
		_ = cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s did not stop within %s of SIGTERM and was killed", p.Name, stopWithin)
	}
}

// Words are the last lines that it printed.
func (p *Process) Words() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// Processor is the processor time, user's and system's, that the processes have
// taken so far.
func Processor(ctx context.Context, pids ...int) (time.Duration, error) {
	var sum float64
	for _, pid := range pids {
		p, err := process.NewProcessWithContext(ctx, int32(pid))
		if err != nil {
			return 0, fmt.Errorf("look at process %d: %w", pid, err)
		}
		t, err := p.TimesWithContext(ctx)
		if err != nil {
			return 0, fmt.Errorf("read processor time of %d: %w", pid, err)
		}
		sum += t.User + t.System
	}
	return time.Duration(sum * float64(time.Second)), nil
}

// pids of processes that run.
func pids(all []*Process) []int {
	var out []int
	for _, p := range all {
		if p.cmd != nil {
			out = append(out, p.cmd.Process.Pid)
		}
	}
	return out
}

func stopAll(all []*Process) error {
	errs := make(chan error, len(all))
	for _, p := range all {
		go func() { errs <- p.Stop() }()
	}
	var err error
	for range all {
		err = errors.Join(err, <-errs)
	}
	return err
}

// FreePorts are addresses on loopback that nobody listens on now.
func FreePorts(ctx context.Context, n int) ([]string, error) {
	var out []string
	for range n {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer ln.Close() // all are held until all are known, so that they differ
		out = append(out, ln.Addr().String())
	}
	return out, nil
}

// Until asks every 20 ms until it is so.
func Until(ctx context.Context, limit time.Duration, what string, is func(context.Context) bool) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !is(bounded) {
		if err := Sleep(bounded, 20*time.Millisecond); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("waited %s, in vain, until %s", limit, what)
		}
	}
	return nil
}

// Sleep ends early, with an error, when ctx does.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

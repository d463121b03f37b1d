package fault

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// tracer is strace on a running agent, which meddles with its syncs. It slows everything
// else down as well, because it looks at every system call.
type tracer struct {
	cmd   *exec.Cmd
	file  string
	ended chan struct{}
}

func canTrace() error {
	if _, err := exec.LookPath("strace"); err != nil {
		return fmt.Errorf("%w: strace is not installed", ErrSkipped)
	}
	return nil
}

// openTracer begins; what is in the words of strace's -e inject=.
func openTracer(e Env, what string) (*tracer, error) {
	t := &tracer{file: filepath.Join(e.World.Dir, fmt.Sprintf("%s-%x.strace", e.Victim.Name, e.Use.Pick)), ended: make(chan struct{})}
	t.cmd = exec.Command("strace", "-f", "-qq", "-o", t.file, "-p", fmt.Sprint(e.Victim.PID()),
		"-e", "trace=fsync,fdatasync", "-e", "signal=none", "-e", "inject=fsync,fdatasync:"+what)
	// A Ctrl-C is ours: strace lets go of the agent when we say so.
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := t.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start strace: %w", err)
	}
	go func() {
		defer close(t.ended)
		_ = t.cmd.Wait() // it ends with what it traces
	}()
	return t, nil
}

// hits counts the calls that were meddled with, by the mark that strace gives them.
func (t *tracer) hits(mark string) (int, error) {
	text, err := os.ReadFile(t.file)
	if err != nil {
		return 0, fmt.Errorf("read what strace has seen: %w", err)
	}
	return strings.Count(string(text), mark), nil
}

// close lets go of the agent. A nil tracer has none.
func (t *tracer) close() {
	if t == nil {
		return
	}
	_ = t.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-t.ended:
	case <-time.After(10 * time.Second):
		_ = t.cmd.Process.Kill()
		<-t.ended
	}
}

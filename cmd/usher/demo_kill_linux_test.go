package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// These tests run the whole program, not stubs, and kill it at chosen moments. Linux
// alone lists every process with its environment.

// killTest is one demonstration whose every process has TMPDIR=temp.
type killTest struct {
	temp   string
	parent *exec.Cmd
	out    io.Reader
	errs   bytes.Buffer
}

const killDeadline = 40 * time.Second // for what takes two seconds on an idle machine

func startKillTest(t *testing.T, stub string, args ...string) *killTest {
	t.Helper()
	temp, err := os.MkdirTemp("", "k") // short: a socket's name has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	k := &killTest{temp: temp}
	t.Cleanup(func() {
		for _, pid := range k.processes(t) {
			_ = kill(pid)
		}
		_ = os.RemoveAll(temp)
	})
	k.parent = k.command(t, stub, append([]string{"demo", "--output", "json"}, args...)...)
	k.parent.Stderr = &k.errs
	if k.out, err = k.parent.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := k.parent.Start(); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *killTest) command(t *testing.T, stub string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), stubEnv+"="+stub, "STUB_NODES=3", "TMPDIR="+k.temp)
	ownGroup(cmd)
	return cmd
}

// processes are those that still run, the parent included until it has been waited for.
func (k *killTest) processes(t *testing.T) []int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, path := range all {
		env, err := os.ReadFile(path) // another user's, or gone
		if err == nil && bytes.Contains(env, []byte("TMPDIR="+k.temp+"\x00")) {
			pid := 0
			_, _ = fmt.Sscanf(path, "/proc/%d/environ", &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

// find is the process whose command line holds all words; 0 for none.
func (k *killTest) find(t *testing.T, words ...string) int {
	t.Helper()
next:
	for _, pid := range k.processes(t) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // it may have ended
		for _, w := range words {
			if !bytes.Contains(line, []byte(w)) {
				continue next
			}
		}
		return pid
	}
	return 0
}

// exists reports whether the demonstration has made a file of that name.
func (k *killTest) exists(t *testing.T, name string) bool {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(k.temp, demoPrefix+"*", name))
	if err != nil {
		t.Fatal(err)
	}
	return len(found) > 0
}

// await looks until it holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline, look := time.After(killDeadline), time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("not within %s: %s", killDeadline, what)
		}
	}
}

// nothingLeft waits until every process has ended, and finds no file then.
func (k *killTest) nothingLeft(t *testing.T) {
	t.Helper()
	await(t, "every process has ended", func() bool { return len(k.processes(t)) == 0 })
	left, err := os.ReadDir(k.temp)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("%s is left", e.Name())
		_ = filepath.WalkDir(filepath.Join(k.temp, e.Name()), func(path string, _ os.DirEntry, _ error) error {
			t.Log(path)
			return nil
		})
	}
}

// Whenever the demonstration is killed with -9, no process and no file is left.
func TestDemoKilledEarly(t *testing.T) {
	moments := map[string]func(*testing.T, *killTest) bool{
		"its directory is there": func(t *testing.T, k *killTest) bool { return k.exists(t, "") },
		"its keeper runs":        func(t *testing.T, k *killTest) bool { return k.find(t, "keep") != 0 },
		"its state is there":     func(t *testing.T, k *killTest) bool { return k.exists(t, stateName) },
		"the cluster is made":    func(t *testing.T, k *killTest) bool { return k.exists(t, "node-1/node.crt") },
		"the first agent runs":   func(t *testing.T, k *killTest) bool { return k.find(t, "agent", "node-1") != 0 },
		"an agent has its log":   func(t *testing.T, k *killTest) bool { return k.exists(t, "node-1/raft") },
		"an agent starts":        func(t *testing.T, k *killTest) bool { return k.find(t, "agent", "node-2") != 0 },
		"an agent joins":         func(t *testing.T, k *killTest) bool { return k.exists(t, "node-2/node.key") },
		"an agent has joined":    func(t *testing.T, k *killTest) bool { return k.exists(t, "node-3/node.crt") },
		"it is ready": func(t *testing.T, k *killTest) bool {
			readReady(t, bufio.NewReader(k.out))
			return true
		},
	}
	for name, moment := range moments {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := startKillTest(t, "real")
			await(t, name, func() bool { return moment(t, k) })
			if err := k.parent.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = k.parent.Wait() // killed
			k.nothingLeft(t)
		})
	}
}

// An agent whose contact never answers tries for ever; only its leash ends it.
func TestDemoKilledWhileAnAgentCannotJoin(t *testing.T) {
	k := startKillTest(t, "real")
	await(t, "an agent joins", func() bool { return k.exists(t, "node-2/node.key") })
	for _, pid := range []int{k.find(t, "agent", "node-1"), k.parent.Process.Pid} {
		if pid == 0 {
			t.Fatal("the first agent does not run")
		}
		if err := kill(pid); err != nil {
			t.Fatal(err)
		}
	}
	_ = k.parent.Wait() // killed
	k.nothingLeft(t)
}

// A keeper whose demonstration is gone before it could be told cleans up all the same.
func TestKeeperUnheard(t *testing.T) {
	temp, err := os.MkdirTemp("", "k")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(temp)
	k := &killTest{temp: temp}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	keeper := k.command(t, "real", "demo", "keep") // its standard input is at its end
	keeper.Stdout = w
	if err := errors.Join(r.Close(), keeper.Start(), w.Close()); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := keeper.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("it ended with %v", err)
	}
	k.nothingLeft(t)
}

// The keeper may be killed too: the demonstration says so and ends, and when both are
// gone the agents clean up.
func TestDemoKeeperKilled(t *testing.T) {
	for name, both := range map[string]bool{"alone": false, "with the demonstration": true} {
		t.Run(name, func(t *testing.T) {
			k := startKillTest(t, "agent")
			readReady(t, bufio.NewReader(k.out))
			keeper := k.find(t, "keep")
			if both { // it must not clean up
				if err := k.parent.Process.Signal(syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				await(t, "the demonstration stands still", func() bool { return stopped(k.parent.Process.Pid) })
			}
			if err := kill(keeper); err != nil {
				t.Fatal(err)
			}
			if both {
				await(t, "the agents end", func() bool { return k.find(t, "agent") == 0 })
				if err := k.parent.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			err := k.parent.Wait()
			var exit *exec.ExitError
			if !both && (!errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.Contains(k.errs.String(), "usher demo keep) was killed\nnext: ")) {
				t.Errorf("%v: %s", err, k.errs.String())
			}
			k.nothingLeft(t)
		})
	}
}

// stopped reports whether all threads of a process stand still.
func stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	return len(threads) > 0 && !slices.ContainsFunc(threads, func(path string) bool {
		stat, err := os.ReadFile(path)
		return err == nil && !bytes.Contains(stat, []byte(") T "))
	})
}

// Demonstrations that start at the same moment leave each other alone.
func TestDemosStartedTogether(t *testing.T) {
	k := startKillTest(t, "agent")
	type one struct {
		cmd  *exec.Cmd
		out  io.Reader
		errs bytes.Buffer
	}
	var others []*one
	for range 4 {
		o := &one{cmd: k.command(t, "agent", "demo", "--output", "json")}
		o.cmd.Stderr = &o.errs
		out, err := o.cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if o.out = out; o.cmd.Start() != nil {
			t.Fatal("it does not start")
		}
		others = append(others, o)
	}
	others = append(others, &one{cmd: k.parent, out: k.out})
	stop, swept := make(chan struct{}), make(chan struct{})
	go func() { // far more often than starting demonstrations do it
		defer close(swept)
		for {
			select {
			case <-stop:
				return
			default:
				sweepDemos(k.temp)
			}
		}
	}()
	doors := map[string]bool{}
	for _, o := range others {
		line, err := bufio.NewReader(o.out).ReadString('\n')
		if err != nil {
			t.Errorf("it did not become ready: %s", o.errs.String()+k.errs.String())
			continue
		}
		doors[line[strings.Index(line, `"door"`):strings.Index(line, `"api"`)]] = true
	}
	close(stop)
	<-swept
	if len(doors) != len(others) {
		t.Errorf("%d have doors of their own, want %d", len(doors), len(others))
	}
	for _, o := range others {
		_ = o.cmd.Process.Signal(os.Interrupt)
	}
	for _, o := range others {
		if err := o.cmd.Wait(); err != nil {
			t.Errorf("it ended with %v: %s", err, o.errs.String())
		}
	}
	k.nothingLeft(t)
}

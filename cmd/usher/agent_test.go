package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent"
)

// serveIn runs serve in a bubble of fake time.
func serveIn(t *testing.T, run *fakeRun, drive func(f *fixture, over chan struct{})) (err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		run.started, run.ready, run.release = make(chan struct{}), make(chan struct{}), make(chan struct{})
		f.signal = make(chan os.Signal, 4)
		f.signals = f.signal
		over, done := make(chan struct{}), make(chan error, 1)
		go func() {
			done <- f.serve(t.Context(), run, serving{over: over, bound: 30 * time.Second, log: zerolog.Nop()})
		}()
		<-run.started
		drive(f, over)
		err = <-done
		close(run.release) // the process would have ended
		synctest.Wait()
	})
	return err
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func TestServeStops(t *testing.T) {
	crash := errors.New("raft log failed")
	tests := []struct {
		name  string
		run   *fakeRun
		drive func(f *fixture, over chan struct{})
		want  string
	}{
		{"signal", &fakeRun{}, func(f *fixture, _ chan struct{}) { f.signal <- syscall.SIGTERM }, ""},
		{"error while stopping", &fakeRun{err: crash}, func(f *fixture, _ chan struct{}) { f.signal <- syscall.SIGTERM }, "raft log failed"},
		{"the demonstration ends", &fakeRun{}, func(_ *fixture, over chan struct{}) { close(over) }, ""},
		{"second signal", &fakeRun{hang: true}, func(f *fixture, _ chan struct{}) {
			f.signal <- syscall.SIGTERM
			time.Sleep(time.Second)
			f.signal <- syscall.SIGINT
		}, "second signal"},
		{"second signal after the demonstration's end", &fakeRun{hang: true}, func(f *fixture, over chan struct{}) {
			close(over)
			synctest.Wait()
			f.signal <- syscall.SIGINT
		}, "second signal"},
		{"the same signal twice", &fakeRun{hang: true}, func(f *fixture, _ chan struct{}) {
			f.signal <- syscall.SIGTERM
			f.signal <- syscall.SIGTERM
		}, "did not stop within 30s"},
		{"too slow", &fakeRun{hang: true}, func(f *fixture, _ chan struct{}) { f.signal <- syscall.SIGTERM }, "did not stop within 30s"},
		{"it stops by itself, and hangs", &fakeRun{hang: true, stopping: closed()}, func(*fixture, chan struct{}) {}, "did not stop within 30s"},
		{"too slow at the demonstration's end", &fakeRun{hang: true}, func(_ *fixture, over chan struct{}) { close(over) }, "did not stop within 30s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := serveIn(t, tt.run, tt.drive)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// An agent that is not running yet ends with its demonstration too.
func TestLeashEndsAnAgentThatJoins(t *testing.T) {
	f, dir, joining := newFixture(t), filepath.Join(t.TempDir(), demoPrefix+"1"), make(chan struct{})
	f.vars["USHER_JOIN_TOKEN"] = "ushj_x"
	f.machine.joining = func(ctx context.Context) error {
		close(joining)
		<-ctx.Done()
		return fmt.Errorf("join: %w", ctx.Err())
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := holdLeash(dir)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-joining
		l.release(0)
	}()
	code, _, stderr := f.do("agent", "--demo", dir, "--join", "10.0.0.1")
	if code != exitFailed || !strings.Contains(stderr, "usher: the demonstration ended while this agent was starting\nnext: ") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

// What does not listen is left behind, but not at once.
func TestHeed(t *testing.T) {
	why, own := errors.New("over"), errors.New("its own error")
	tests := []struct {
		name string
		f    func(ctx context.Context, forever chan struct{}) error
		end  bool
		took time.Duration
		want error
	}{
		{"it works", func(context.Context, chan struct{}) error { return nil }, false, 0, nil},
		{"it fails", func(context.Context, chan struct{}) error { return own }, false, 0, own},
		{"it listens", func(ctx context.Context, _ chan struct{}) error { <-ctx.Done(); return ctx.Err() }, true, 0, why},
		{"it is done all the same", func(context.Context, chan struct{}) error { time.Sleep(time.Second); return nil }, true, time.Second, nil},
		{"it hangs", func(_ context.Context, forever chan struct{}) error { <-forever; return nil }, true, stopGrace, why},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if tt.end {
					time.AfterFunc(0, func() { cancel(why) })
				}
				forever, began := make(chan struct{}), time.Now()
				_, err := heed(ctx, func() (int, error) { return 1, tt.f(ctx, forever) })
				if took := time.Since(began); !errors.Is(err, tt.want) || took != tt.took {
					t.Errorf("%v after %s, want %v after %s", err, took, tt.want, tt.took)
				}
				close(forever) // the process would have ended
			})
		})
	}
}

// manager is a service manager that remembers what it is told.
type manager struct {
	conn *net.UnixConn
	said chan string
	wg   sync.WaitGroup
}

func newManager(t *testing.T) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Skip("no datagram sockets here:", err)
	}
	m := &manager{conn: conn, said: make(chan string, 64)}
	m.wg.Go(func() {
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			m.said <- string(b[:n])
		}
	})
	t.Cleanup(func() {
		_ = conn.Close()
		m.wg.Wait()
	})
	return m
}

func (m *manager) next(t *testing.T) string {
	t.Helper()
	select {
	case s := <-m.said:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("the service manager was told nothing")
		return ""
	}
}

func TestServiceManagerIsTold(t *testing.T) {
	m, f, run := newManager(t), newFixture(t), newFakeRun()
	f.vars["NOTIFY_SOCKET"] = m.conn.LocalAddr().String()
	done := make(chan error, 1)
	go func() {
		done <- f.serve(t.Context(), run, serving{bound: time.Minute, log: zerolog.Nop()})
	}()
	<-run.started
	close(run.ready)
	if got := m.next(t); !strings.HasPrefix(got, "READY=1\nSTATUS=door 10.0.0.1:8080") {
		t.Errorf("told %q", got)
	}
	f.signal <- syscall.SIGTERM
	if got := m.next(t); got != "STOPPING=1" {
		t.Errorf("told %q", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The watchdog is fed while the agent's own API answers, and not by the mere process.
func TestWatchdog(t *testing.T) {
	m, api := newManager(t), newFakeAPI(t)
	api.on("GET /v1/health", answer{status: 503, body: map[string]string{"status": "no_quorum"}}) // alive, if alone
	socket := filepath.Join(t.TempDir(), "s")
	socketAt(t, socket, api)
	vars := map[string]string{"NOTIFY_SOCKET": m.conn.LocalAddr().String(), "WATCHDOG_USEC": "30000"}
	n, err := newNotifier(func(k string) (string, bool) { v, ok := vars[k]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	stop := n.watch(context.Background(), agent.Addrs{Socket: socket})
	for range 3 {
		if got := m.next(t); got != "WATCHDOG=1" {
			t.Errorf("told %q", got)
		}
	}
	stop()
	if alive(context.Background(), socket+".absent", time.Second) {
		t.Error("an agent that does not answer counts as alive")
	}
	if !alive(context.Background(), "", time.Second) {
		t.Error("an agent without a socket counts as dead")
	}
}

func TestAgentJoinsOnce(t *testing.T) {
	f := newFixture(t)
	f.vars["USHER_JOIN_TOKEN"] = "ushj_x"
	f.machine.runs = newFakeRun()
	go func() {
		<-f.machine.runs.started
		f.signal <- os.Interrupt
	}()
	code, _, err := f.do("agent", "--join", "10.0.0.1")
	if code != 0 || len(f.machine.joined) != 1 || f.machine.joined[0].Token != "ushj_x" {
		t.Errorf("exit %d, joined %d times: %s", code, len(f.machine.joined), err)
	}
	for line := range strings.Lines(err) {
		if !strings.HasPrefix(line, "{") {
			t.Errorf("a line that is no JSON among the logs: %q", line)
		}
	}
	f.machine.has, f.machine.runs = true, newFakeRun()
	go func() {
		<-f.machine.runs.started
		f.signal <- os.Interrupt
	}()
	if code, _, err := f.do("agent", "--join", "10.0.0.1"); code != 0 || len(f.machine.joined) != 1 {
		t.Errorf("a node joined again: exit %d: %s", code, err)
	}
}

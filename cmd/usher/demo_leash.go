package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	demoPrefix = "usher-demo-"
	leashName  = "alive.sock"
	leashDial  = 2 * time.Second
)

// leash is the keeper's end of the connections that agents hold.
type leash struct {
	ln    net.Listener
	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil once released
	wg    sync.WaitGroup
}

func holdLeash(dir string) (*leash, error) {
	ln, err := net.Listen("unix", filepath.Join(dir, leashName))
	if err != nil {
		return nil, failed("set TMPDIR to a directory with a shorter name", "open demonstration socket: %w", err)
	}
	l := &leash{ln: ln, conns: map[net.Conn]struct{}{}}
	l.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if l.add(c) {
				l.wg.Go(func() { l.hold(c) })
			}
		}
	})
	return l, nil
}

func (l *leash) add(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		_ = c.Close()
		return false
	}
	l.conns[c] = struct{}{}
	return true
}

// hold keeps the connection until the agent has ended. What it sends says nothing.
func (l *leash) hold(c net.Conn) {
	_, _ = io.Copy(io.Discard, c)
	_ = c.Close()
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
}

// release asks all agents to end and waits for them, at most for bound.
func (l *leash) release(bound time.Duration) {
	_ = l.ln.Close()
	l.mu.Lock()
	held := l.conns
	l.conns = nil
	for c := range held {
		if u, ok := c.(*net.UnixConn); ok {
			_ = u.CloseWrite() // the agent reads the end and stops; its own end tells us
		}
		_ = c.SetReadDeadline(time.Now().Add(bound))
	}
	l.mu.Unlock()
	l.wg.Wait()
}

// follower is an agent's end.
type follower struct {
	dir  string
	conn net.Conn
	over chan struct{} // closed when the demonstration ends; nil when there is none
}

// followDemo ties this agent to the demonstration in dir; "" ties it to nothing.
func (p *program) followDemo(dir string) (*follower, error) {
	if dir == "" {
		return &follower{}, nil
	}
	conn, err := net.DialTimeout("unix", filepath.Join(dir, leashName), leashDial)
	if err != nil {
		return nil, permanent("start a new one with usher demo", "the demonstration in %s is over", dir)
	}
	f := &follower{dir: dir, conn: conn, over: make(chan struct{})}
	go func() {
		defer close(f.over)
		_, _ = io.Copy(io.Discard, conn)
	}()
	return f, nil
}

// context is parent until the demonstration ends. The function that it returns gives
// back what it holds.
func (f *follower) context(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-f.over:
			cancel(errDemoOver)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(context.Canceled)
		<-done
	}
}

// errDemoOver is the cause when an agent ends before it has started.
var errDemoOver = failed("start a new one with usher demo", "the demonstration ended while this agent was starting")

// Close is called when the agent has ended.
func (f *follower) Close() {
	if f.conn == nil {
		return
	}
	select {
	case <-f.over:
		// A keeper that lives waits for the end of this process, with which the
		// connection ends, and removes the directory then. Only one that was killed
		// does not hear us.
		_ = f.conn.SetWriteDeadline(time.Now().Add(leashDial))
		_, err := f.conn.Write([]byte{'.'})
		if err != nil && strings.HasPrefix(filepath.Base(f.dir), demoPrefix) {
			_ = removeDemo(f.dir) // what another agent still writes there is removed by that one
		}
	default:
		_ = f.conn.Close()
		<-f.over
	}
}

// removeDemo removes a demonstration's directory. The marker goes last, so that
// what is cut short, or meets an agent that still writes, is taken up by the next.
func removeDemo(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.Name() != stateName {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	if err == nil {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		return fmt.Errorf("remove demonstration directory: %w", err)
	}
	return nil
}

// sweepDemos removes what demonstrations left behind that were killed together
// with their keepers and all of their agents.
func sweepDemos(temp string) {
	for _, dir := range demoDirs(temp) {
		if demoDead(dir) {
			_ = removeDemo(dir) // the next one tries again
		}
	}
}

// demoDead reports whether dir is certainly a demonstration's, and that is over. The
// marker is written after the leash has been taken, and looked for before the leash
// is: what has a marker and no leash has lost it, and will not take it again.
func demoDead(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, stateName)); err != nil {
		return false
	}
	_, err := leashHeld(dir)
	return errors.Is(err, fs.ErrNotExist) || connRefused(err)
}

// leashHeld reports whether the demonstration in dir lives. An error other than
// refusal leaves that open.
func leashHeld(dir string) (bool, error) {
	c, err := net.DialTimeout("unix", filepath.Join(dir, leashName), leashDial)
	if err != nil {
		return false, err
	}
	_ = c.Close()
	return true, nil
}

// demoDirs are this user's demonstrations. Anybody may make such a name in a
// shared directory, so the owner decides.
func demoDirs(temp string) []string {
	all, err := filepath.Glob(filepath.Join(temp, demoPrefix+"*"))
	if err != nil {
		return nil
	}
	var out []string
	for _, dir := range all {
		info, err := os.Lstat(dir)
		if err == nil && info.IsDir() && ownedByUs(info) {
			out = append(out, dir)
		}
	}
	return out
}

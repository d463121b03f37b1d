package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	demoPrefix = "usher-demo-"
	leashName  = "alive.sock"
)

// leash is the demonstration's end of the connections that its agents hold.
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

// hold keeps the connection until the agent has ended: it never sends anything.
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
	done chan struct{}
}

// followDemo ties this agent to the demonstration in dir; "" ties it to nothing.
func (p *program) followDemo(dir string) (*follower, error) {
	if dir == "" {
		return &follower{}, nil
	}
	conn, err := net.Dial("unix", filepath.Join(dir, leashName))
	if err != nil {
		return nil, permanent("start a new one with usher demo", "the demonstration in %s is over", dir)
	}
	f := &follower{dir: dir, conn: conn, over: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(f.done)
		_, _ = io.Copy(io.Discard, conn)
		close(f.over)
	}()
	return f, nil
}

// Close is called when the agent has ended. After the demonstration's end the
// directory goes: nobody else may be left to remove it.
func (f *follower) Close() {
	if f.conn == nil {
		return
	}
	select {
	case <-f.over:
		removeDemo(f.dir)
	default:
	}
	_ = f.conn.Close()
	<-f.done
}

// removeDemo removes a directory that is certainly a demonstration's. What another
// agent still writes there is removed by that one.
func removeDemo(dir string) {
	if _, err := os.Stat(filepath.Join(dir, stateName)); err == nil {
		_ = os.RemoveAll(dir)
	}
}

// sweepDemos removes what demonstrations left behind that were killed together
// with all of their agents.
func sweepDemos(temp string) {
	for _, dir := range demoDirs(temp) {
		if !leashHeld(dir) {
			removeDemo(dir)
		}
	}
}

// leashHeld reports whether the demonstration in dir lives.
func leashHeld(dir string) bool {
	c, err := net.DialTimeout("unix", filepath.Join(dir, leashName), time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
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

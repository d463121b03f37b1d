package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// securing is requests over TLS: a goroutine for each user, because crypto/tls blocks.
type securing struct {
	t       *task
	config  *tls.Config
	done    atomic.Int64
	over    atomic.Bool
	mu      sync.Mutex
	failure error // the first one before it was over
}

// secure measures requests over TLS.
func (t *task) secure() (s sample, err error) {
	protocol, user := "http/1.1", (*securing).keepAlive
	switch t.Kind {
	case connections:
		user = (*securing).handshakes
	case http2:
		protocol, user = "h2", (*securing).multiplexed
	}
	all := &securing{t: t}
	if all.config, err = t.tlsConfig(protocol); err != nil {
		return s, err
	}
	var users sync.WaitGroup
	for range t.Connections {
		users.Go(func() { all.fail(user(all)) })
	}
	from, err := all.markAfter(t.WarmUp)
	var to mark
	if err == nil {
		to, err = all.markAfter(t.Time)
	}
	all.over.Store(true)
	users.Wait()
	if err := errors.Join(err, all.failure); err != nil {
		return s, err
	}
	return between(from, to)
}

func (all *securing) markAfter(d time.Duration) (mark, error) {
	time.Sleep(d)
	return takeMark(all.t.PIDs, float64(all.done.Load()))
}

// fail ends everything at the first error.
func (all *securing) fail(err error) {
	if err == nil || all.over.Swap(true) {
		return
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	all.failure = err
}

// user opens a connection and a session on it.
func (all *securing) user() (c *tls.Conn, cookie string, err error) {
	if c, err = connectTLS(all.t.Address, all.config); err != nil {
		return nil, "", err
	}
	if cookie, err = all.t.introduce(c); err != nil {
		return nil, "", errors.Join(err, c.Close())
	}
	return c, cookie, c.SetDeadline(time.Time{})
}

// keepAlive asks again and again over one connection, and over another one when the proxy
// wants that.
func (all *securing) keepAlive() error {
	c, cookie, err := all.user()
	if err != nil {
		return err
	}
	request := append(all.t.requestHead(all.t.Path, cookie), pattern(all.t.Body)...)
	buf := make([]byte, 16<<10)
	for {
		err := all.kept(c, request, buf)
		_ = c.Close() // everything was answered, or the run has failed
		if err != nil || all.over.Load() {
			return err
		}
		if c, err = connectTLS(all.t.Address, all.config); err != nil {
			return err
		}
		_ = c.SetDeadline(time.Time{})
	}
}

// kept asks until the proxy says that it closes, or it is over.
func (all *securing) kept(c io.ReadWriter, request, buf []byte) error {
	var a answer
	for !all.over.Load() && !a.close {
		if err := askOver(c, request, buf, &a); err != nil {
			return err
		}
		if err := a.check(all.t.Size); err != nil {
			return err
		}
		all.done.Add(1)
	}
	return nil
}

// handshakes asks once over each connection.
func (all *securing) handshakes() error {
	c, cookie, err := all.user()
	if err != nil {
		return err
	}
	_ = c.Close() // its session goes on
	request := all.t.requestHead(all.t.Path, cookie, "Connection: close")
	buf := make([]byte, 16<<10)
	var a answer
	for !all.over.Load() {
		c, err := connectTLS(all.t.Address, all.config)
		if err != nil {
			return err
		}
		if err = askOver(c, request, buf, &a); err == nil {
			err = a.check(all.t.Size)
		}
		if err != nil {
			return errors.Join(err, c.Close())
		}
		all.done.Add(1)
		_, _ = c.Read(buf) // the proxy closes first, so that the next connection finds a port
		_ = c.Close()
	}
	return nil
}

func askOver(c io.ReadWriter, request, buf []byte, a *answer) error {
	a.reset()
	if _, err := c.Write(request); err != nil {
		return fmt.Errorf("send a request: %w", err)
	}
	for !a.done {
		n, err := c.Read(buf)
		if n > 0 {
			if err := a.feed(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil && !a.done {
			return fmt.Errorf("read an answer: %w", err)
		}
	}
	return nil
}

// multiplexed asks again and again over one HTTP/2 connection, and over another one when
// the proxy wants that.
func (all *securing) multiplexed() error {
	cookie, err := all.cookieH1()
	if err != nil {
		return err
	}
	fields := []field{
		{":method", "GET"}, {":scheme", "https"}, {":authority", serverName}, {":path", all.t.Path},
		{"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0)"}, {"accept", "text/html,application/xhtml+xml,*/*;q=0.8"},
		{"accept-language", "en-US,en;q=0.5"}, {"accept-encoding", "gzip, deflate, br"},
	}
	if cookie != "" {
		fields = append(fields, field{"cookie", cookie})
	}
	for !all.over.Load() {
		if err := all.oneH2(fields); err != nil {
			return err
		}
	}
	return nil
}

func (all *securing) oneH2(fields []field) error {
	conn, err := connectTLS(all.t.Address, all.config)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Time{})
	c, err := openH2(conn)
	if err != nil {
		return fmt.Errorf("begin HTTP/2: %w", err)
	}
	for head := literals(fields); !all.over.Load(); head = indexed(len(fields)) {
		got, away, err := c.ask(head)
		if err == nil && got != all.t.Size {
			err = fmt.Errorf("answered %d bytes instead of %d", got, all.t.Size)
		}
		if err != nil {
			return err
		}
		all.done.Add(1)
		if away {
			return nil
		}
	}
	return nil
}

// cookieH1 opens the session over HTTP/1.1; it holds for HTTP/2 as well.
func (all *securing) cookieH1() (string, error) {
	config := all.config.Clone()
	config.NextProtos = []string{"http/1.1"}
	c, err := connectTLS(all.t.Address, config)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return all.t.introduce(c)
}

package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/transport"
)

// knock opens a join connection without any of the checks.
func (l *lab) knock() *tls.Conn {
	l.t.Helper()
	raw, err := l.joiner.DialContext(l.ctx, "tcp", "10.0.0.1:"+defaultPort)
	if err != nil {
		l.t.Fatal(err)
	}
	return tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{string(transport.ProtoJoin)}})
}

func TestServerSaysNothingToGarbage(t *testing.T) {
	for name, garbage := range map[string]string{
		"HTTP":          "GET / HTTP/1.1\r\n\r\n",
		"huge":          "\xff\xff\xff\xff{}",
		"no JSON":       "\x00\x00\x00\x02hi",
		"half a frame":  "\x00\x00\x00\x20{\"version\":",
		"nothing":       "",
		"other version": "\x00\x00\x00\x04null",
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				c := newCluster(t, testCluster, "paris")
				c.serve(l.ctx, l.server, &l.wg)
				conn := l.knock()
				defer conn.Close()
				start := time.Now()
				if _, err := conn.Write([]byte(garbage)); err != nil {
					t.Fatal(err)
				}
				got, _ := io.ReadAll(conn)
				if len(got) > 0 || c.requests() > 0 {
					t.Errorf("answered %q, admit was called %d times", got, c.requests())
				}
				if took := time.Since(start); took > joinReadTimeout {
					t.Errorf("held on for %s", took)
				}
			})
		})
	}
}

func TestServerChecksTheFormFirst(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		c := newCluster(t, testCluster, "paris")
		c.serve(l.ctx, l.server, &l.wg)
		conn := l.knock()
		defer conn.Close()
		r := goldenRequest(t)
		r.Name = "Not A Name"
		if err := writeFrame(conn, r); err != nil {
			t.Fatal(err)
		}
		var reply joinReply
		if err := readFrame(conn, &reply); err != nil || reply.Error == nil || reply.Error.Code != JoinBadRequest {
			t.Errorf("reply %v, %v", reply.Error, err)
		}
		if c.requests() > 0 {
			t.Error("admit saw it")
		}
	})
}

func TestServerCutsContacts(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		c := newCluster(t, testCluster, "paris")
		c.distort = func(a *JoinAnswer) {
			for range 2000 {
				a.Contacts = append(a.Contacts, "a-server-with-a-rather-long-name.example:14747")
			}
		}
		c.serve(l.ctx, l.server, &l.wg)
		if _, a, err := Join(l.ctx, l.config(c.token, "alpha")); err != nil || len(a.Contacts) != maxContacts {
			t.Errorf("%d contacts, %v", len(a.Contacts), err)
		}
	})
}

// serveWith runs ServeJoins on the lab's server with another admit.
func (l *lab) serveWith(ctx context.Context, admit Admit) (net.Listener, <-chan error) {
	l.t.Helper()
	c := newCluster(l.t, testCluster, "paris")
	raw, err := l.server.Listen(ctx, "tcp", ":"+defaultPort)
	if err != nil {
		l.t.Fatal(err)
	}
	done := make(chan error, 1)
	l.wg.Go(func() {
		done <- ServeJoins(ctx, tls.NewListener(raw, port(c.node.Chain, c.node, string(transport.ProtoJoin))), Doorkeeper{Admit: admit, Removed: nobody}, zerolog.Nop())
	})
	return raw, done
}

func TestServerTakesSixteenAtOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		var now, most, total atomic.Int32
		l.serveWith(l.ctx, func(ctx context.Context, _ JoinRequest, _ net.Addr) (JoinAnswer, *JoinError) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			defer total.Add(1)
			time.Sleep(time.Second)
			return JoinAnswer{}, nil
		})
		var conns []*tls.Conn
		for range 40 {
			conn := l.knock()
			conns = append(conns, conn)
			l.wg.Go(func() {
				if err := writeFrame(conn, goldenRequest(t)); err != nil {
					t.Error(err)
				}
				var reply joinReply
				if err := readFrame(conn, &reply); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(500 * time.Millisecond)
		if now.Load() != 16 {
			t.Errorf("%d at once", now.Load())
		}
		time.Sleep(10 * time.Second)
		if most.Load() != 16 || total.Load() != 40 {
			t.Errorf("at most %d at once, %d in all", most.Load(), total.Load())
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
	})
}

func TestServerBoundsAdmit(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.serveWith(l.ctx, func(ctx context.Context, _ JoinRequest, _ net.Addr) (JoinAnswer, *JoinError) {
			<-ctx.Done()
			return JoinAnswer{}, &JoinError{Code: JoinNoQuorum, Message: "no leader in time"}
		})
		conn := l.knock()
		defer conn.Close()
		start := time.Now()
		if err := writeFrame(conn, goldenRequest(t)); err != nil {
			t.Fatal(err)
		}
		var reply joinReply
		if err := readFrame(conn, &reply); err != nil || reply.Error == nil || reply.Error.Code != JoinNoQuorum {
			t.Errorf("reply %v, %v", reply.Error, err)
		}
		if took := time.Since(start); took != joinAnswerTimeout {
			t.Errorf("took %s", took)
		}
	})
}

// Stopping ends idle connections and admissions at once, and leaves nothing behind.
func TestServerStops(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		ctx, stop := context.WithCancel(l.ctx)
		_, done := l.serveWith(ctx, func(ctx context.Context, _ JoinRequest, _ net.Addr) (JoinAnswer, *JoinError) {
			<-ctx.Done()
			return JoinAnswer{}, &JoinError{Code: JoinInternal}
		})
		idle, busy := l.knock(), l.knock()
		defer idle.Close()
		defer busy.Close()
		if err := errors.Join(idle.Handshake(), writeFrame(busy, goldenRequest(t))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		start := time.Now()
		stop()
		if err := <-done; err != nil {
			t.Errorf("stopped with %v", err)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("took %s", took)
		}
	})
}

// A listener that fails ends what is in hand too.
func TestServerReportsItsListener(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		ln, done := l.serveWith(l.ctx, nil)
		idle := l.knock()
		defer idle.Close()
		if err := idle.Handshake(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("returned %v", err)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("took %s", took)
		}
	})
}

// What strangers send is not logged above debug, and the secret never.
func TestServerLogs(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		var out bytes.Buffer
		c := newCluster(t, testCluster, "paris")
		c.refuse = []*JoinError{{Code: JoinExpired, Message: "expired"}}
		r := goldenRequest(t)
		r.Time = time.Now()
		s := joinServer{keeper: c.keeper(), log: zerolog.New(&out)}
		ask := func(r JoinRequest) {
			here, there := net.Pipe()
			l.wg.Go(func() { s.serve(l.ctx, there) })
			_ = writeFrame(here, r)
			_, _ = io.Copy(io.Discard, here)
			_ = here.Close()
			synctest.Wait()
		}
		ask(r)
		r.Name = "\x1b[31mred"
		ask(r)
		golden(t, "server.golden.log", out.Bytes())
	})
}

type slowCloser struct{ closed time.Time }

func (c *slowCloser) Close() error {
	time.Sleep(time.Second)
	c.closed = time.Now()
	return nil
}

func TestCloseWithIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		late, never := &slowCloser{}, &slowCloser{}
		closeWith(ctx, never)()
		release := closeWith(ctx, late)
		cancel()
		release()
		if late.closed.IsZero() || !never.closed.IsZero() {
			t.Errorf("closed %v and %v", late.closed, never.closed)
		}
	})
}

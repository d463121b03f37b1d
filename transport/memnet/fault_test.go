package memnet

import (
	"context"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestCutHoldsBackAndHealDelivers(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		write(t, p.client, "before ")
		p.net.Cut(p.a, p.b)
		write(t, p.client, "during")
		write(t, p.server, "during")
		read(t, p.server, "before ") // had arrived
		silent(t, p.server)
		silent(t, p.client)
		p.net.Heal(p.a, p.b)
		write(t, p.client, " after")
		read(t, p.server, "during after")
		read(t, p.client, "during")
	})
}

func TestCutOneWay(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		p.net.CutOneWay(p.a, p.b)
		write(t, p.client, "lost")
		write(t, p.server, "heard")
		read(t, p.client, "heard")
		silent(t, p.server)
		for _, to := range []struct {
			from *Host
			addr string
		}{{p.a, "10.0.0.2:80"}, {p.b, "10.0.0.1:80"}} { // a handshake needs both directions
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := to.from.DialContext(ctx, "tcp", to.addr)
			wantOp(t, err, "dial", context.DeadlineExceeded)
			cancel()
		}
		p.net.HealAll()
		read(t, p.server, "lost")
	})
}

func TestCutHidesClose(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		p.net.Cut(p.a, p.b)
		write(t, p.client, "bye")
		p.client.Close()
		silent(t, p.server)
		write(t, p.server, "are you there?")
		p.net.HealHost(p.a)
		if got, err := io.ReadAll(p.server); err != nil || string(got) != "bye" {
			t.Fatalf("after healing: %q, %v", got, err)
		}
		_, err := p.server.Write([]byte("x"))
		wantOp(t, err, "write", syscall.EPIPE)
	})
}

func TestIsolate(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		p.net.Isolate(p.a)
		late := p.net.Host("late", "10.0.0.9")
		ln := listen(t, late, "tcp", "10.0.0.9:80")
		local := listen(t, p.a, "tcp", "127.0.0.1:80")
		inside, server := connect(t, p.a, local)
		write(t, inside, "loopback")
		read(t, server, "loopback")
		inside.Close()
		server.Close()

		began := time.Now()
		time.AfterFunc(5*time.Second, func() { p.net.HealHost(p.a) })
		client, server := connect(t, p.a, ln)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("an isolated host reached a late one after %v", took)
		}
		client.Close()
		server.Close()
	})
}

func TestHealDoesNotEndIsolation(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		p.net.Isolate(p.a)
		p.net.Heal(p.a, p.b)
		write(t, p.client, "x")
		silent(t, p.server)
		p.net.HealAll()
		read(t, p.server, "x")
	})
}

func TestReset(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		ln := listen(t, p.a, "tcp", "127.0.0.1:80")
		write(t, p.client, "unread")
		p.net.Reset(p.a)
		for _, c := range []io.ReadWriter{p.client, p.server} {
			_, err := c.Read(make([]byte, 1))
			wantOp(t, err, "read", syscall.ECONNRESET)
			_, err = c.Write([]byte("x"))
			wantOp(t, err, "write", syscall.ECONNRESET)
		}
		if _, err := ln.Accept(); err == nil {
			t.Error("a listener outlived its process")
		}
		if got := p.net.Conns(); got != 1 {
			t.Errorf("%d ends count as open; want the far one", got)
		}
		again := listen(t, p.a, "tcp", "127.0.0.1:80") // the process starts again
		client, server := connect(t, p.a, again)
		client.Close()
		server.Close()
	})
}

func TestResetBehindCut(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		p.net.Cut(p.a, p.b)
		write(t, p.client, "never read")
		p.net.Reset(p.a)
		silent(t, p.server)
		p.net.HealAll()
		_, err := p.server.Read(make([]byte, 1))
		wantOp(t, err, "read", syscall.ECONNRESET)
	})
}

func TestResetWakesBlocked(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		done := make(chan error, 2)
		go func() { _, err := p.server.Read(make([]byte, 1)); done <- err }()
		go func() { _, err := p.server.Write(make([]byte, 2*window)); done <- err }()
		synctest.Wait()
		p.net.Reset(p.a)
		for range 2 {
			if err := <-done; err == nil {
				t.Error("no error")
			}
		}
	})
}

func TestDelay(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		p.net.SetDelay(30 * time.Millisecond)
		began := time.Now()
		write(t, p.client, "one ")
		time.Sleep(10 * time.Millisecond)
		write(t, p.client, "two")
		read(t, p.server, "one ")
		if took := time.Since(began); took != 30*time.Millisecond {
			t.Errorf("the first took %v", took)
		}
		read(t, p.server, "two")
		if took := time.Since(began); took != 40*time.Millisecond {
			t.Errorf("the second took %v", took)
		}
		began = time.Now()
		ln := listen(t, p.b, "tcp", "10.0.0.2:81")
		client, server := connect(t, p.a, ln)
		if took := time.Since(began); took != 60*time.Millisecond {
			t.Errorf("the dial took %v", took)
		}
		client.Close()
		server.Close()
		p.net.SetDelay(0)
		write(t, p.client, "now")
		read(t, p.server, "now")
	})
}

func TestDelayKeepsOrder(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		p.net.SetDelay(time.Second)
		write(t, p.client, "slow ")
		p.net.SetDelay(0)
		write(t, p.client, "fast")
		p.client.Close()
		if got, err := io.ReadAll(p.server); err != nil || string(got) != "slow fast" {
			t.Errorf("read %q, %v", got, err)
		}
	})
}

func TestHealOneWay(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		p.net.Cut(p.a, p.b)
		write(t, p.client, "heard")
		write(t, p.server, "lost")
		p.net.HealOneWay(p.a, p.b)
		read(t, p.server, "heard")
		silent(t, p.client)
		p.net.HealOneWay(p.b, p.a)
		read(t, p.client, "lost")
	})
}

func TestLateSegmentsKeepTheirOrder(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		p.net.SetDelay(10 * time.Millisecond)
		lates := []time.Duration{200 * time.Millisecond, 0, 0}
		p.net.SetLate(p.a, p.b, func() time.Duration {
			first := lates[0]
			lates = lates[1:]
			return first
		})
		began := time.Now()
		write(t, p.client, "one ")
		write(t, p.client, "two ")
		read(t, p.server, "one two ") // the second waits for the first, as in TCP
		if took := time.Since(began); took != 210*time.Millisecond {
			t.Errorf("arrived after %v", took)
		}
		write(t, p.server, "back")
		began = time.Now()
		read(t, p.client, "back")
		if took := time.Since(began); took != 10*time.Millisecond {
			t.Errorf("the other direction took %v", took)
		}
		p.net.SetLate(p.a, p.b, nil)
		write(t, p.client, "three")
		began = time.Now()
		read(t, p.server, "three")
		if took := time.Since(began); took != 10*time.Millisecond {
			t.Errorf("after it ended: %v", took)
		}
		p.net.SetDelay(0)
	})
}

func TestLateDials(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		p.net.SetLate(p.a, p.b, func() time.Duration { return 30 * time.Millisecond })
		began := time.Now()
		_, err := p.a.DialContext(t.Context(), "tcp", "10.0.0.2:81")
		wantOp(t, err, "dial", syscall.ECONNREFUSED)
		if took := time.Since(began); took != 30*time.Millisecond {
			t.Errorf("refused after %v", took)
		}
	})
}

func TestBreak(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		c := p.net.Host("c", "10.0.0.3")
		ln := listen(t, c, "tcp", "10.0.0.3:80")
		other, far := connect(t, p.a, ln)
		p.net.Break(p.b, p.a)
		for _, end := range []net.Conn{p.client, p.server} {
			_, err := end.Read(make([]byte, 1))
			wantOp(t, err, "read", syscall.ECONNRESET)
			_, err = end.Write([]byte("x"))
			wantOp(t, err, "write", syscall.ECONNRESET)
		}
		write(t, other, "whole")
		read(t, far, "whole")
		again, err := p.a.DialContext(t.Context(), "tcp", "10.0.0.2:80") // the listener stays
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
		other.Close()
		far.Close()
		ln.Close()
	})
}

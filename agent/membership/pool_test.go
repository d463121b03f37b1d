package membership

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport/memnet"
)

// bench is a pool on one host and a listener on another.
type bench struct {
	net     *memnet.Net
	a, b    *memnet.Host
	ln      net.Listener
	pool    *pool
	metrics *metrics
	dials   atomic.Int32
	to      where
}

func onBench(t *testing.T, fn func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		b := &bench{net: n, a: n.Host("a", "10.0.0.1"), b: n.Host("b", "10.0.0.2"), to: where{"b", "10.0.0.2:1"}}
		b.listen(t)
		var err error
		if b.metrics, err = newMetrics(nil); err != nil {
			t.Fatal(err)
		}
		b.pool = newPool(func(ctx context.Context, _ peer.ID, addr string) (net.Conn, error) {
			b.dials.Add(1)
			return b.a.DialContext(ctx, "tcp", addr)
		}, b.metrics, zerolog.Nop())
		defer func() {
			b.pool.close()
			b.ln.Close()
			if open := n.Conns(); open != 0 {
				t.Errorf("%d ends left", open)
			}
		}()
		fn(t, b)
	})
}

func (b *bench) listen(t *testing.T) {
	t.Helper()
	var err error
	if b.ln, err = b.b.Listen(t.Context(), "tcp", ":1"); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) send(t *testing.T, packet string) {
	t.Helper()
	if err := b.pool.send(b.to, []byte(packet)); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) accept(t *testing.T) net.Conn {
	t.Helper()
	conn, err := b.ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func wantPacket(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(time.Second))
	if got, err := readFrame(conn); err != nil || string(got) != want {
		t.Fatalf("packet %q, %v; want %q", got, err, want)
	}
}

// value reads a counter.
func value(t *testing.T, c prometheus.Collector) int {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return int(families[0].GetMetric()[0].GetCounter().GetValue())
}

func (b *bench) dropped(t *testing.T, reason string) int {
	t.Helper()
	return value(t, b.metrics.dropped.WithLabelValues(reason))
}

func TestPoolKeepsConnectionUntilIdle(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.send(t, "one")
		conn := b.accept(t)
		defer conn.Close()
		wantPacket(t, conn, "one")
		for range 5 {
			time.Sleep(idleAfter - time.Second)
			b.send(t, "more")
			wantPacket(t, conn, "more")
		}
		if n := b.dials.Load(); n != 1 {
			t.Errorf("%d dials", n)
		}
		time.Sleep(idleAfter + time.Second)
		if _, err := readFrame(conn); err == nil {
			t.Error("an idle connection stayed open")
		}
		if n := len(b.pool.targets); n != 0 {
			t.Errorf("%d idle targets", n)
		}
		b.send(t, "again")
		second := b.accept(t)
		defer second.Close()
		wantPacket(t, second, "again")
	})
}

func TestPoolDropsInsteadOfWaiting(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.net.Cut(b.a, b.b)
		began := time.Now()
		b.send(t, "x")
		synctest.Wait() // the sender hangs in its dial
		for range 3 * queueLength {
			b.send(t, "x")
		}
		if time.Since(began) != 0 {
			t.Errorf("sending took %v", time.Since(began))
		}
		if got, want := b.dropped(t, droppedQueue), 2*queueLength; got != want {
			t.Errorf("%d dropped for a full queue, want %d", got, want)
		}
		time.Sleep(packetDial + time.Millisecond)
		if got := b.dropped(t, droppedDial); got == 0 || b.dials.Load() != 1 {
			t.Errorf("%d dropped by %d dials", got, b.dials.Load())
		}
	})
}

func TestPoolBacksOff(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.ln.Close() // dials are refused from now on
		for range 600 {
			b.send(t, "x")
			time.Sleep(100 * time.Millisecond)
		}
		// After 0, 0.5, 1.5, 3.5, 7.5, 15.5, ... seconds.
		if n := b.dials.Load(); n < 10 || n > 12 {
			t.Errorf("%d dials to a dead node in a minute", n)
		}
		if b.dropped(t, droppedBackoff) == 0 {
			t.Error("nothing was dropped")
		}
		b.listen(t)
		b.pool.renew(b.to.id) // gossip says that it is back
		synctest.Wait()
		b.send(t, "back")
		conn := b.accept(t)
		defer conn.Close()
		wantPacket(t, conn, "back")
	})
}

func TestPoolRenewsHungConnection(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.send(t, "one")
		hung := b.accept(t)
		defer hung.Close()
		b.pool.renew("somebody else")
		synctest.Wait()
		b.send(t, "same")
		wantPacket(t, hung, "one")
		wantPacket(t, hung, "same")
		b.pool.renew(b.to.id)
		synctest.Wait()
		b.send(t, "two")
		conn := b.accept(t)
		defer conn.Close()
		wantPacket(t, conn, "two")
	})
}

func TestPoolNoticesClosedConnection(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.send(t, "one")
		conn := b.accept(t)
		time.Sleep(2 * shortLife)
		conn.Close()
		synctest.Wait()
		b.send(t, "two") // not lost in the old connection
		conn = b.accept(t)
		wantPacket(t, conn, "two")
		conn.Close() // at once: as good as refused
		synctest.Wait()
		b.send(t, "three")
		synctest.Wait()
		if got := b.dropped(t, droppedBackoff); got != 1 || b.dials.Load() != 2 {
			t.Errorf("%d dropped, %d dials", got, b.dials.Load())
		}
	})
}

func TestPoolGivesUpOnStalledReader(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		packet := strings.Repeat("x", maxFrame)
		for range 17 { // a window of 1 MiB, and more
			b.send(t, packet)
		}
		conn := b.accept(t)
		defer conn.Close()
		time.Sleep(packetWrite + time.Millisecond)
		if b.dropped(t, droppedWrite) == 0 {
			t.Error("a write without a reader did not end")
		}
	})
}

func TestPoolFlush(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.net.SetDelay(50 * time.Millisecond)
		b.send(t, "bye")
		b.pool.flush(t.Context())
		b.pool.close()
		conn := b.accept(t)
		defer conn.Close()
		wantPacket(t, conn, "bye")
		if err := b.pool.send(b.to, []byte("late")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	})
}

func TestPoolFlushIsBounded(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.net.Cut(b.a, b.b)
		b.send(t, "never")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		b.pool.flush(ctx)
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestPoolKeepsTargetWithPackets(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		target := newTarget(b.pool, b.to)
		target.queue <- item{packet: []byte("x")}
		if b.pool.retire(target) {
			t.Error("a target was given up while a packet waited")
		}
		<-target.queue
		if !b.pool.retire(target) {
			t.Error("an idle target was kept")
		}
	})
}

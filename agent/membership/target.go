package membership

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/ushercluster/usher/agent/logs"
)

// target is the way to one node: a queue, and a goroutine that owns the
// connection.
//
//	        packet                    written
//	(idle) -------> dial ----> open ----------> open
//	  ^              |failed    | broken, renewed, 60 s without a packet
//	  |   back off   v          v
//	  +----------- refusing   (idle)
type target struct {
	pool  *pool
	to    where
	queue chan item
	renew chan struct{}

	// Owned by run.
	conn    net.Conn
	opened  time.Time
	broken  chan struct{} // closed when the other side has ended conn
	backoff time.Duration
	retryAt time.Time
	frames  []byte
}

// item is a packet, or a mark that is closed when the packets before it are gone.
type item struct {
	packet  []byte
	flushed chan<- struct{}
}

func newTarget(p *pool, to where) *target {
	return &target{pool: p, to: to, queue: make(chan item, queueLength), renew: make(chan struct{}, 1)}
}

// run sends until nothing has been sent for a while, or the pool closes.
func (t *target) run() {
	defer t.hangUp()
	idle := time.NewTimer(idleAfter)
	defer idle.Stop()
	for {
		select {
		case it := <-t.queue:
			t.send(it)
			idle.Reset(idleAfter)
		case <-t.broken:
			short := time.Since(t.opened) < shortLife
			t.hangUp()
			if short {
				t.refuse()
			}
		case <-t.renew:
			t.hangUp()
			t.backoff, t.retryAt = 0, time.Time{}
		case <-idle.C:
			if t.pool.retire(t) {
				return
			}
			idle.Reset(idleAfter)
		case <-t.pool.ctx.Done():
			return
		}
	}
}

// send writes an item, and what else waits, as one write.
func (t *target) send(first item) {
	items := []item{first}
	size := len(first.packet)
	for more := true; more && size < maxFrame; {
		select {
		case it := <-t.queue:
			items = append(items, it)
			size += len(it.packet)
		default:
			more = false
		}
	}
	if lost := t.write(items); lost != "" {
		packets := 0
		for _, it := range items {
			if it.packet != nil {
				packets++
			}
		}
		t.pool.metrics.drop(lost, packets)
	}
	for _, it := range items {
		if it.flushed != nil {
			close(it.flushed)
		}
	}
}

// write returns why the packets were lost, "" when they were not.
func (t *target) write(items []item) (lost string) {
	t.frames = t.frames[:0]
	for _, it := range items {
		if it.packet != nil {
			t.frames = appendFrame(t.frames, it.packet)
		}
	}
	if len(t.frames) == 0 {
		return ""
	}
	if t.conn == nil {
		if time.Now().Before(t.retryAt) {
			return droppedBackoff
		}
		if err := t.open(); err != nil {
			t.pool.metrics.dialsFailed.WithLabelValues(dialPackets).Inc()
			t.pool.log.Debug().Err(err).Str(logs.Peer, string(t.to.id)).Str(logs.Addr, t.to.addr).Msg("gossip dial failed")
			t.refuse()
			return droppedDial
		}
	}
	err := t.conn.SetWriteDeadline(time.Now().Add(packetWrite))
	if err == nil {
		_, err = t.conn.Write(t.frames)
	}
	if err != nil {
		t.pool.log.Debug().Err(err).Str(logs.Peer, string(t.to.id)).Msg("gossip connection broke")
		t.hangUp()
		return droppedWrite
	}
	for _, it := range items {
		if it.packet != nil {
			t.pool.metrics.packet(directionOut, len(it.packet))
		}
	}
	return ""
}

// open dials, and watches for the end of the connection: nothing is ever sent
// back on it, so that whatever comes ends it.
func (t *target) open() error {
	ctx, cancel := context.WithTimeout(t.pool.ctx, packetDial)
	defer cancel()
	conn, err := t.pool.dial(ctx, t.to.id, t.to.addr)
	if err != nil {
		return err
	}
	broken := make(chan struct{})
	t.conn, t.broken, t.opened = conn, broken, time.Now()
	t.pool.wg.Go(func() {
		defer close(broken)
		_, _ = io.ReadFull(conn, make([]byte, 1)) // what it says does not matter
	})
	return nil
}

// hangUp closes the connection, if there is one, and waits for its reader.
func (t *target) hangUp() {
	if t.conn == nil {
		return
	}
	t.conn.Close()
	<-t.broken
	t.conn, t.broken = nil, nil
}

// refuse drops packets for a while, longer each time in a row.
func (t *target) refuse() {
	t.backoff = min(max(2*t.backoff, firstBackoff), longestBackoff)
	t.retryAt = time.Now().Add(t.backoff)
}

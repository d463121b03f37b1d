package pulse

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// link is one connection.
type link struct {
	peer   peer.ID
	conn   net.Conn
	outbox chan frame
	// hangUp ends the link and never waits: conn is closed in a goroutine of its own,
	// because TLS says goodbye to a peer that may hang.
	hangUp context.CancelFunc
	spoke  bool // it is, or was, in Hub.links; only its reader looks at this
}

// send queues a frame and never waits: with a full outbox it drops the frame. Whether
// the connection hangs is for the writer's deadline to say.
func (l *link) send(f frame) bool {
	select {
	case l.outbox <- f:
		return true
	default:
		return false
	}
}

// answer queues a frame that answers one of the peer's, and waits for room: who asks
// faster than we write is read more slowly.
func (l *link) answer(ctx context.Context, f frame) {
	select {
	case l.outbox <- f:
	case <-ctx.Done():
	}
}

// serve works on a connection until it ends, and reports whether the server at its
// other end ever spoke.
func (h *Hub) serve(ctx context.Context, wg *sync.WaitGroup, id peer.ID, c net.Conn) bool {
	ctx, cancel := context.WithCancel(ctx)
	l := &link{peer: id, conn: c, outbox: make(chan frame, outboxLength), hangUp: cancel}
	var own sync.WaitGroup
	own.Go(func() {
		<-ctx.Done()
		c.Close()
	})
	own.Go(func() { h.write(ctx, l) })
	err := h.read(ctx, wg, l)
	h.log.Debug().Err(err).Str(logs.Peer, string(id)).Msg("pulse connection ended")
	cancel()
	if l.spoke {
		h.drop(l)
	}
	own.Wait()
	return l.spoke
}

// admit makes l the connection of its server, in place of an older one. It takes the
// first frame for that, not the dial: a client's handshake in TLS 1.3 ends before the
// other side has judged its certificate, let alone looked whether it knows us.
func (h *Hub) admit(ctx context.Context, l *link) error {
	h.turn.Lock()
	defer h.turn.Unlock()
	h.mu.Lock()
	if h.ended || ctx.Err() != nil {
		h.mu.Unlock()
		return ErrEnded
	}
	old := h.links[l.peer]
	if old != nil {
		old.hangUp()
	}
	h.links[l.peer] = l
	for _, ch := range h.up[l.peer] {
		close(ch)
	}
	delete(h.up, l.peer)
	h.mu.Unlock()
	l.spoke = true
	h.stats.links.Inc()
	if old == nil && h.cfg.Up != nil {
		h.cfg.Up(l.peer)
	}
	return nil
}

// drop undoes admit, and lets those go who wait for an answer on this connection.
func (h *Hub) drop(l *link) {
	h.turn.Lock()
	defer h.turn.Unlock()
	h.mu.Lock()
	for _, q := range h.waiting {
		q.settle(l, &frame{kind: kindLost})
	}
	last := h.links[l.peer] == l
	if last {
		delete(h.links, l.peer)
	}
	h.mu.Unlock()
	h.stats.links.Dec()
	if last && h.cfg.Down != nil {
		h.cfg.Down(l.peer)
	}
}

// write sends a beat once a second and what is queued at once, what waits together
// in one write.
func (h *Hub) write(ctx context.Context, l *link) {
	defer l.hangUp()
	t := time.NewTicker(beatEvery)
	defer t.Stop()
	var buf []byte
	next := h.frame(kindBeat)
	for {
		buf = next.append(buf[:0])
		n := 1 + len(l.outbox) // what is there now; nobody else takes from it
		for range n - 1 {
			next = <-l.outbox
			buf = next.append(buf)
		}
		if l.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil {
			return
		}
		if _, err := l.conn.Write(buf); err != nil {
			return
		}
		h.stats.sent.Add(float64(n))
		select {
		case next = <-l.outbox:
		case <-t.C:
			next = h.frame(kindBeat)
		case <-ctx.Done():
			return
		}
	}
}

// read handles frames until the connection ends or brings none for too long.
func (h *Hub) read(ctx context.Context, wg *sync.WaitGroup, l *link) error {
	in := bufio.NewReaderSize(l.conn, 8*frameSize)
	var b [frameSize]byte
	var f frame
	for ctx.Err() == nil {
		if in.Buffered() < frameSize {
			if err := l.conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
				return err
			}
		}
		if _, err := io.ReadFull(in, b[:]); err != nil {
			return err
		}
		if err := f.parse(b[:]); err != nil {
			h.log.Warn().Err(err).Str(logs.Peer, string(l.peer)).Msg("pulse frame cannot be read")
			return err
		}
		h.stats.received.Inc()
		if !l.spoke {
			if err := h.admit(ctx, l); err != nil {
				return err
			}
			// Changed may have looked over the connections just before this one was among them.
			if !slices.Contains(h.cfg.Peers(), l.peer) {
				return errStranger
			}
		}
		h.heard(ctx, l, &f)
		h.handle(ctx, wg, l, &f)
	}
	return ctx.Err()
}

var errStranger = errors.New("not a server of this cluster any more")

// heard keeps what a frame says of its sender, unless the connection was replaced or
// its server removed meanwhile.
func (h *Hub) heard(ctx context.Context, l *link, f *frame) {
	now := h.cfg.Now()
	beat := Beat{Facts: f.Facts, Boot: f.boot, Received: now, Ahead: time.Unix(0, f.clock).Sub(now)}
	h.mu.Lock()
	before, known := h.beats[l.peer]
	counts := ctx.Err() == nil
	if counts {
		h.beats[l.peer] = beat
	}
	h.mu.Unlock()
	if counts && known && f.boot > before.Boot && h.cfg.Restarted != nil {
		h.cfg.Restarted(l.peer)
	}
}

func (h *Hub) handle(ctx context.Context, wg *sync.WaitGroup, l *link, f *frame) {
	switch f.kind {
	case kindAsk:
		a := h.frame(kindAnswer) // our term now, after the question came
		a.nonce = f.nonce
		l.answer(ctx, a)
	case kindAnswer, kindRevision, kindRefused:
		h.answered(l, f)
	case kindRead:
		h.confirm(ctx, wg, l, f.nonce)
	case kindGone:
		if h.cfg.Gone != nil {
			h.cfg.Gone(l.peer, f.argNode, f.argTerm, f.Facts)
		}
	case kindStand:
		if h.cfg.Stand != nil {
			h.cfg.Stand(l.peer, f.argTerm, f.argIndex)
		}
	}
}

// confirm answers another server's read.
func (h *Hub) confirm(ctx context.Context, wg *sync.WaitGroup, l *link, nonce uint64) {
	refuse := func() {
		f := h.frame(kindRefused)
		f.nonce = nonce
		l.answer(ctx, f)
	}
	if h.cfg.Read == nil {
		refuse()
		return
	}
	select {
	case h.reads <- struct{}{}:
	default:
		refuse()
		return
	}
	wg.Go(func() {
		defer func() { <-h.reads }()
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		rev, err := h.cfg.Read(ctx)
		if err != nil {
			refuse()
			return
		}
		f := h.frame(kindRevision)
		f.nonce, f.argIndex = nonce, rev
		l.answer(ctx, f)
	})
}

// frame is one of ours, about now.
func (h *Hub) frame(k kind) frame {
	return frame{kind: k, Facts: h.cfg.Facts(), boot: h.cfg.Boot, clock: h.cfg.Now().UnixNano()}
}

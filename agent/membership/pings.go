package membership

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"
)

// memberlist's Shutdown does not wait for a probe that is on its way: its goroutine
// stays until the answer is overdue, up to eight seconds when the node has been
// unwell. So the pings that were sent are noted, and Shutdown answers them itself.

// Type bytes of memberlist's packets.
const (
	typePing     = 0
	typeAck      = 2
	typeCompound = 7
	typeChecked  = 12 // a check sum of four bytes, then another packet
)

// longestProbe is when memberlist gives up on a ping: ProbeInterval times
// AwarenessMaxMultiplier.
const longestProbe = 8 * time.Second

// sequence is the part of a ping and of an ack that matters here.
type sequence struct{ SeqNo uint32 }

// pings are those that may be unanswered: our own probes, one at a time, and those
// that others asked of us.
type pings struct {
	mu     sync.Mutex
	sent   map[uint32]time.Time
	closed bool
}

// note looks at a packet that is about to be sent. It reports false after close:
// then nothing may be sent, and memberlist gives a probe up at once.
func (p *pings) note(packet []byte) bool {
	seq, isPing := pingIn(packet)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	if !isPing {
		return true
	}
	now := time.Now()
	for old, at := range p.sent {
		if now.Sub(at) > longestProbe {
			delete(p.sent, old)
		}
	}
	if p.sent == nil {
		p.sent = make(map[uint32]time.Time)
	}
	p.sent[seq] = now
	return true
}

// close ends the sending and returns an answer to each ping.
func (p *pings) close() ([]*memberlist.Packet, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var acks []*memberlist.Packet
	for seq := range p.sent {
		b := bytes.NewBuffer([]byte{typeAck})
		if err := codec.NewEncoder(b, new(codec.MsgpackHandle)).Encode(sequence{seq}); err != nil {
			return acks, fmt.Errorf("encode ack: %w", err)
		}
		acks = append(acks, &memberlist.Packet{Buf: b.Bytes(), From: self{}, Timestamp: time.Now()})
	}
	p.sent = nil
	return acks, nil
}

// pingIn finds the number of the ping that a packet begins with.
func pingIn(packet []byte) (seq uint32, ok bool) {
	if len(packet) > 5 && packet[0] == typeChecked {
		packet = packet[5:]
	}
	if len(packet) > 2 && packet[0] == typeCompound {
		// The type, a count, a length of two bytes for each part, the parts.
		skip := 2 + 2*int(packet[1])
		if skip > len(packet) {
			return 0, false
		}
		packet = packet[skip:]
	}
	if len(packet) < 2 || packet[0] != typePing {
		return 0, false
	}
	var s sequence
	if err := codec.NewDecoderBytes(packet[1:], new(codec.MsgpackHandle)).Decode(&s); err != nil {
		return 0, false
	}
	return s.SeqNo, true
}

// settle answers the pings. memberlist still takes packets.
func (f *fabric) settle() error {
	acks, err := f.pings.close()
	deadline := time.NewTimer(time.Second)
	defer deadline.Stop()
	for _, ack := range acks {
		select {
		case f.packets <- ack:
		case <-deadline.C:
			return fmt.Errorf("settle probes: %w", net.ErrClosed)
		}
	}
	return err
}

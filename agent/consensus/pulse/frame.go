package pulse

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// A frame is frameSize bytes, numbers in big-endian order:
//
//	offset  size
//	     0     1  version, 1
//	     1     1  kind
//	     2     2  zero
//	     4     8  term           of the sender
//	    12     8  last log term
//	    20     8  last log index
//	    28     8  revision
//	    36     8  boot
//	    44     8  wall clock, nanoseconds since 1970
//	    52     8  nonce
//	    60     8  argument: a term
//	    68     8  argument: an index or revision
//	    76    16  argument: a node ID, or zero
//	    92     4  zero
const (
	frameSize    = 96
	frameVersion = 1
	idSize       = 16
)

type kind byte

const (
	kindLost     kind = 0 // never sent: stands for the answer that a connection took with it
	kindBeat     kind = 1 // nothing but how far the sender is
	kindAsk      kind = 2 // answer at once
	kindAnswer   kind = 3
	kindRead     kind = 4 // what revision does a linearizable read have to show?
	kindRevision kind = 5 // arg index: the revision
	kindRefused  kind = 6 // the read was not confirmed
	kindGone     kind = 7 // arg node refuses connections, arg term is the one it led
	kindStand    kind = 8 // stand for election, if the term is still arg term and your log reaches arg index
)

// Facts are how far a server is.
type Facts struct {
	Term      uint64
	LastTerm  uint64 // of the last entry of the log, or of the snapshot if that is later
	LastIndex uint64
	Revision  uint64
}

type frame struct {
	kind kind
	Facts
	boot     uint64
	clock    int64
	nonce    uint64
	argTerm  uint64
	argIndex uint64
	argNode  peer.ID
}

func (f *frame) append(b []byte) []byte {
	b = append(b, frameVersion, byte(f.kind), 0, 0)
	for _, v := range [...]uint64{
		f.Term, f.LastTerm, f.LastIndex, f.Revision, f.boot, uint64(f.clock), f.nonce, f.argTerm, f.argIndex,
	} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	var id [idSize]byte
	copy(id[:], f.argNode)
	b = append(b, id[:]...)
	return append(b, 0, 0, 0, 0)
}

var errFrame = errors.New("malformed pulse frame")

// parse reads a frame of another server. A later version may send a kind that is
// unknown here, which the caller passes over, an argument that its kind had no use for,
// and something in place of the zeros: none of it is an error.
func (f *frame) parse(b []byte) error {
	if len(b) != frameSize {
		return fmt.Errorf("%w: %d bytes", errFrame, len(b))
	}
	if b[0] != frameVersion {
		return fmt.Errorf("%w: version %d", errFrame, b[0])
	}
	u := func(off int) uint64 { return binary.BigEndian.Uint64(b[off:]) }
	*f = frame{
		kind:  kind(b[1]),
		Facts: Facts{Term: u(4), LastTerm: u(12), LastIndex: u(20), Revision: u(28)},
		boot:  u(36), clock: int64(u(44)), nonce: u(52), argTerm: u(60), argIndex: u(68),
	}
	id := b[76 : 76+idSize]
	if [idSize]byte(id) != [idSize]byte{} {
		f.argNode = peer.ID(id)
		if !f.argNode.Valid() {
			return fmt.Errorf("%w: node id %q", errFrame, id)
		}
	}
	if f.kind == kindGone && f.argNode == "" {
		return fmt.Errorf("%w: kind %d without a node", errFrame, f.kind)
	}
	return nil
}

// Beat is what another server said last, in a frame of whatever kind.
type Beat struct {
	Facts
	Boot     uint64        // its start, counted
	Received time.Time     // by our clock
	Ahead    time.Duration // its wall clock less ours when the frame came: too low by the time that took
}

package bench

import "fmt"

// Write is one try at writing one key. Times are nanoseconds of one clock.
type Write struct {
	Key     int
	Seq     int64  // what was written; no two writes have the same
	Began   int64  // before it was sent
	Ended   int64  // after it was acknowledged; zero: nobody knows whether it was done
	Version uint64 // at least this version of the key was acknowledged
}

// Final is what a key held at the end.
type Final struct {
	Seq     int64
	Version uint64
}

// Lost reports the first acknowledged write that the end of its key shows to be
// lost, as an error; keys that were never written are not looked at. final[k] belongs
// to key k.
//
// An atomic register may end with a write v only if no other acknowledged write began
// after v was acknowledged. A write of which nobody knows the outcome may take
// effect at any time after it began, so it may always be the last one. The versions
// tell the same a second time, independently of clocks.
func Lost(writes []Write, final []Final) error {
	last := make([]*Write, len(final))   // of the acknowledged, the one that began last
	holds := make([]*Write, len(final))  // the write that the key ended with
	newest := make([]*Write, len(final)) // acknowledged with the highest version
	tried := make([]bool, len(final))
	for i := range writes {
		w := &writes[i]
		k := w.Key
		tried[k] = true
		if w.Seq == final[k].Seq {
			holds[k] = w
		}
		if w.Ended == 0 {
			continue
		}
		if last[k] == nil || w.Began > last[k].Began {
			last[k] = w
		}
		if newest[k] == nil || w.Version > newest[k].Version {
			newest[k] = w
		}
	}
	for k := range final {
		switch {
		case !tried[k] || last[k] == nil && holds[k] == nil:
		case holds[k] == nil:
			return fmt.Errorf("key %d ended with %d, which nobody wrote", k, final[k].Seq)
		case last[k] != nil && holds[k].Ended != 0 && holds[k].Ended < last[k].Began:
			return fmt.Errorf("key %d ended with %d, although %d was begun after that was acknowledged, and was acknowledged", k, final[k].Seq, last[k].Seq)
		case newest[k] != nil && final[k].Version < newest[k].Version:
			return fmt.Errorf("key %d ended with version %d, although version %d (%d) was acknowledged", k, final[k].Version, newest[k].Version, newest[k].Seq)
		}
	}
	return nil
}

package fsm

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-memdb"
)

// FSM holds the state and applies entries to it. Entries are applied by one
// goroutine at a time (Raft's); View may be called by any, at any time.
type FSM struct {
	mu   sync.Mutex // held while an entry is applied or the memory is copied
	db   *memdb.MemDB
	mem  *memory
	rev  uint64
	now  Stamp // of the last entry; never goes back
	log  journal
	last touched
	halt error

	view    atomic.Pointer[View]
	newer   chan struct{} // of the current view
	onEvict func([]Evicted)
	onHalt  func(error)
}

// Options are what the outside wants to be told. Both functions are called while
// an entry is applied: they must be quick and must not call the FSM.
type Options struct {
	OnEvict func([]Evicted) // rows that left the state by a bound, in order
	OnHalt  func(error)     // once: the FSM met something it must not skip, and stands still
}

// New returns an empty state at revision 0.
func New(o Options) *FSM {
	db, err := memdb.NewMemDB(schema())
	if err != nil {
		panic(err) // the schema is a constant of this package
	}
	f := &FSM{db: db, mem: newMemory(), onEvict: o.OnEvict, onHalt: o.OnHalt}
	f.publish()
	return f
}

// View returns the state as it is now: immutable, cheap, safe to keep and to share.
func (f *FSM) View() View { return *f.view.Load() }

// Apply applies one encoded entry. It returns a result for each command in it. An
// error means that the entry could not be understood: the FSM then stands still
// for ever (OnHalt), because skipping it would let replicas differ.
func (f *FSM) Apply(data []byte) ([]Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.halt != nil {
		return nil, f.halt
	}
	e, err := DecodeEntry(data)
	if err != nil {
		return nil, f.stop(err)
	}
	cmds := make([]Command, len(e.Items))
	for i, it := range e.Items {
		if cmds[i], err = Decode(it.Command); err != nil {
			return nil, f.stop(err)
		}
	}
	f.now = max(f.now, e.Now)
	txn := f.db.Txn(true)
	out := make([]Result, len(cmds))
	var evicted []Evicted
	for i, c := range cmds {
		var ev []Evicted
		out[i], ev = f.one(txn, e.Items[i], c)
		evicted = append(evicted, ev...)
	}
	txn.Commit()
	f.publish()
	if len(evicted) > 0 && f.onEvict != nil {
		f.onEvict(evicted)
	}
	return out, nil
}

// one applies one command, or recalls its result.
func (f *FSM) one(txn *memdb.Txn, it Item, c Command) (Result, []Evicted) {
	if r, ok := f.mem.recall(it.ID); ok {
		return r, nil
	}
	if f.mem.forgotten(it.Known, f.rev) {
		return Result{Revision: f.rev, Code: CodeExpired, Message: fmt.Sprintf(
			"this command was first tried at revision %d, too long ago to know whether it was carried out: read the state and decide anew", it.Known)}, nil
	}
	f.rev++
	t := &tx{txn: txn, rev: f.rev, now: f.now, actor: it.Actor, last: &f.last}
	err := c.apply(t)
	f.mem.remember(it.ID, f.rev, err)
	f.audit(t, c, err)
	r := Result{Revision: f.rev}
	if err != nil {
		r.Code, r.Message = err.Code, err.Message
	}
	return r, t.evicted
}

func (f *FSM) audit(t *tx, c Command, err *Error) {
	if !t.actor.Audited() {
		return
	}
	row := &Audit{Revision: t.rev, At: t.now, Actor: t.actor.String(), Via: t.actor.Via, Action: c.kind().String()}
	row.Target, row.Detail = c.about()
	row.Target = clip(row.Target, MaxNameBytes)
	if err != nil {
		row.Code = err.Code
	}
	f.log = f.log.add(row)
	t.last.touch(tableAudit, t.rev)
	if f.log.size() > MaxAudit {
		var oldest *Audit
		f.log, oldest = f.log.drop()
		t.evict(Evicted{Audit: oldest})
	}
}

func (f *FSM) stop(err error) error {
	f.halt = fmt.Errorf("apply log: %w", err)
	if f.onHalt != nil {
		f.onHalt(f.halt)
	}
	return f.halt
}

// Halted is why the FSM stands still, or nil.
func (f *FSM) Halted() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.halt
}

// publish makes the present state the current view and wakes those who wait for
// a newer one.
func (f *FSM) publish() {
	old := f.newer
	f.newer = make(chan struct{})
	last := f.last
	f.view.Store(&View{txn: f.db.Txn(false), log: f.log, rev: f.rev, now: f.now, chain: f.mem.chain, newer: f.newer, touched: &last})
	if old != nil {
		close(old)
	}
}

// ErrNoState means that a view holds no cluster: nothing has been restored or
// replicated yet.
var ErrNoState = errors.New("this node has no cluster state yet")

package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/fsm"
)

// settings are what operators write, with values of their own each time.
func settings() []string { return []string{"door.max_body_bytes", "engine.max_sessions"} }

// leastValue harms nobody.
const leastValue = 100_000

// operate is an operator who uses the API of any node.
func (f *fleet) operate(ctx context.Context, i int) {
	rng := dice(f.seed, fmt.Sprintf("operator %d", i))
	for pause(ctx, time.Duration(rng.Int64N(int64(time.Second)))) {
		at, what, key := rng.IntN(len(f.nodes)), rng.IntN(100), settings()[rng.IntN(len(settings()))]
		switch {
		case f.agents[at].Load() == nil:
		case what < 60:
			f.write(rng, i, at, key)
		default:
			f.read(i, at, key)
		}
	}
}

func (f *fleet) write(rng *rand.Rand, client, at int, key string) {
	n := leastValue + f.writes.Add(1)
	o := op{client: client, node: f.nodes[at].Name, kind: opWrite, key: key, start: f.history.tick(), outcome: never}
	binary.BigEndian.PutUint64(o.id[:], n)
	f.wanted.Store(o.id, strconv.FormatUint(n, 10))
	opts := []admin.Option{admin.Idempotent(fmt.Sprintf("w%d", n))}
	if rng.IntN(3) == 0 { // on the condition that nobody has changed it
		if s, err := f.apis[at].Setting(context.Background(), key, admin.Stale()); err == nil && s.Etag != "" {
			opts = append(opts, admin.IfMatch(s.Etag))
		}
	}
	for range tries {
		agent := f.agents[at].Load()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		_, err := f.apis[at].SetSetting(ctx, key, strconv.FormatUint(n, 10), opts...)
		cancel()
		if o.told(err); o.outcome != acked {
			f.log("%s (%d): %v", o, n, err)
		}
		f.internal(o, err)
		if agent == nil || agent != f.agents[at].Load() {
			o.outcome = unknown // the process that answered is not there any more: it may have answered from its grave
		}
		if o.outcome != unknown {
			break
		}
		at = rng.IntN(len(f.nodes))
	}
	o.end = f.history.tick()
	f.history.add(o)
}

// internal reports an answer that says that the agent failed.
func (f *fleet) internal(o op, err error) {
	if p := new(admin.Problem); errors.As(err, &p) && p.Code == admin.CodeInternal {
		f.fail("%s: %v", o, err)
	}
}

// told takes in an answer of the API.
func (o *op) told(err error) {
	var p *admin.Problem
	switch {
	case err == nil:
		o.outcome = acked
	case !errors.As(err, &p):
		o.outcome = unknown
	case p.Code == admin.CodePrecondition || p.Code == admin.CodeConflict:
		o.outcome = refused
	case p.Code == admin.CodeBehind: // it is done, and this node has yet to see it
		o.outcome = acked
	case p.Code == admin.CodeBusy && o.outcome == never: // no_quorum may mean either
	default:
		o.outcome = unknown
	}
}

func (f *fleet) read(client, at int, key string) {
	agent := f.agents[at].Load()
	o := op{client: client, node: f.nodes[at].Name, kind: opRead, key: key, start: f.history.tick(), outcome: never}
	ctx, cancel := context.WithTimeout(context.Background(), readLimit)
	defer cancel()
	s, err := f.apis[at].Setting(ctx, key)
	f.internal(o, err)
	if err == nil && !s.Stale && agent != nil && agent == f.agents[at].Load() {
		o.outcome, o.revision, o.rows = acked, s.Revision, []row{{s.Modified, s.Value}}
	}
	o.end = f.history.tick()
	f.history.add(o)
}

// judgeWrites holds what operators were told against the journal of the state, which has
// a row for each of their writes.
func (f *fleet) judgeWrites(v fsm.View) (faults []string) {
	rows := map[string][]row{}         // by key
	revisions := map[string][]uint64{} // by key and value
	for a := range v.Audit(0) {
		if a.Code == "" {
			rows[a.Target] = append(rows[a.Target], row{a.Revision, a.Detail})
			revisions[a.Target+" "+a.Detail] = append(revisions[a.Target+" "+a.Detail], a.Revision)
		}
	}
	ops := f.history.ops
	for i := range ops {
		o := &ops[i]
		if o.kind == opRead {
			if o.outcome == acked && o.rows[0] != lastRow(rows[o.key], o.revision, o.rows[0]) {
				faults = append(faults, fmt.Sprintf("%s: shows %+v, the journal has %+v", o, o.rows[0], lastRow(rows[o.key], o.revision, o.rows[0])))
			}
			continue
		}
		value, _ := f.wanted.Load(o.id)
		at := revisions[o.key+" "+value.(string)]
		switch {
		case len(at) > 1:
			faults = append(faults, fmt.Sprintf("%s: was carried out at revisions %v", o, at))
		case o.outcome == acked && len(at) == 0:
			faults = append(faults, fmt.Sprintf("%s: an acknowledged write is lost", o))
		case (o.outcome == never || o.outcome == refused) && len(at) > 0:
			faults = append(faults, fmt.Sprintf("%s: was carried out at revision %d (%s)", o, at[0], value))
		case o.outcome == acked:
			o.revision = at[0]
		}
	}
	return append(faults, realTime(ops)...)
}

// lastRow is what a setting has at a revision. Before anybody has written it, it has its
// default, as it was read.
func lastRow(all []row, rev uint64, read row) row {
	last := row{0, read.value}
	for _, r := range all {
		if r.modified <= rev {
			last = r
		}
	}
	return last
}

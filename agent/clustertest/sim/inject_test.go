package sim

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/transport/memnet"
)

// injector strikes a cluster's network. Faults overlap: each adds to what is cut and
// late, and takes back what it has added.
type injector struct {
	net   *memnet.Net
	hosts []*memnet.Host

	mu   sync.Mutex
	rng  *rand.Rand
	cuts map[way]int
	late map[way][]*lateness
}

// way is a direction between two hosts, by number.
type way struct{ from, to int }

// lateness makes segments late: a chance in a hundred, and by how much.
type lateness struct {
	percent int
	by      func(*rand.Rand) time.Duration
}

func newInjector(net *memnet.Net, hosts []*memnet.Host, rng *rand.Rand) *injector {
	return &injector{net: net, hosts: hosts, rng: rng, cuts: map[way]int{}, late: map[way][]*lateness{}}
}

// cut cuts ways until the returned function is called.
func (j *injector) cut(ways ...way) (heal func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, w := range ways {
		if j.cuts[w]++; j.cuts[w] == 1 {
			j.net.CutOneWay(j.hosts[w.from], j.hosts[w.to])
		}
	}
	return func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		for _, w := range ways {
			if j.cuts[w]--; j.cuts[w] == 0 {
				j.net.HealOneWay(j.hosts[w.from], j.hosts[w.to])
			}
		}
	}
}

// delay makes ways late until the returned function is called.
func (j *injector) delay(by lateness, ways ...way) (heal func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, w := range ways {
		j.late[w] = append(j.late[w], &by)
		j.shape(w)
	}
	return func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		for _, w := range ways {
			j.late[w] = slices.DeleteFunc(j.late[w], func(l *lateness) bool { return l == &by })
			j.shape(w)
		}
	}
}

// shape tells the network how late a way is. The caller holds mu.
func (j *injector) shape(w way) {
	all := slices.Clone(j.late[w])
	if len(all) == 0 {
		j.net.SetLate(j.hosts[w.from], j.hosts[w.to], nil)
		return
	}
	rng, mu := rand.New(rand.NewPCG(j.rng.Uint64(), j.rng.Uint64())), new(sync.Mutex)
	j.net.SetLate(j.hosts[w.from], j.hosts[w.to], func() (d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		for _, l := range all {
			if rng.IntN(100) < l.percent {
				d += l.by(rng)
			}
		}
		return d
	})
}

// lost is what a lost segment costs: its retransmission, perhaps that one's too.
func lost(percent int) lateness {
	return lateness{percent, func(r *rand.Rand) time.Duration {
		d := 200 * time.Millisecond
		for again := d; r.IntN(100) < percent; d += again {
			again *= 2
		}
		return d
	}}
}

func upTo(ms int) lateness {
	return lateness{100, func(r *rand.Rand) time.Duration {
		return time.Duration(r.Int64N(int64(ms)*int64(time.Millisecond) + 1))
	}}
}

// pairs are all ways between hosts that two sets of them take, in the order given.
func (j *injector) pairs(from, to func(int) bool) (out []way) {
	for a := range j.hosts {
		for b := range j.hosts {
			if a != b && from(a) && to(b) {
				out = append(out, way{a, b})
			}
		}
	}
	return out
}

func all(int) bool { return true }

func only(i int) func(int) bool { return func(k int) bool { return k == i } }

// around are the ways from and to a host.
func (j *injector) around(i int) []way {
	return append(j.pairs(only(i), all), j.pairs(all, only(i))...)
}

// network strikes if the fault is one of the network. heal ends it.
func (j *injector) network(s strike, who []int) (heal func(), ours bool) {
	switch s.what {
	case "cut":
		return j.cut(way{who[0], who[1]}, way{who[1], who[0]}), true
	case "cut-one-way":
		return j.cut(way{who[0], who[1]}), true
	case "isolate":
		return j.cut(j.around(who[0])...), true
	case "mute":
		return j.cut(j.pairs(only(who[0]), all)...), true
	case "deaf":
		return j.cut(j.pairs(all, only(who[0]))...), true
	case "split":
		here := func(i int) bool { return s.size>>i&1 == 1 }
		there := func(i int) bool { return !here(i) }
		return j.cut(append(j.pairs(here, there), j.pairs(there, here)...)...), true
	case "bridge": // the third sees both, the rest stay with the first
		far := only(who[1])
		near := func(i int) bool { return i != who[1] && i != who[2] }
		return j.cut(append(j.pairs(far, near), j.pairs(near, far)...)...), true
	case "loss":
		return j.delay(lost(s.size), j.pairs(all, all)...), true
	case "jitter":
		return j.delay(upTo(s.size), j.pairs(all, all)...), true
	case "slow-link":
		return j.delay(upTo(s.size), way{who[0], who[1]}, way{who[1], who[0]}), true
	case "break":
		j.net.Break(j.hosts[who[0]], j.hosts[who[1]])
		return func() {}, true
	}
	return nil, false
}

// flap cuts a host off and lets it back, again and again.
func (j *injector) flap(ctx context.Context, s strike, host int) {
	for end := time.Now().Add(s.lasts); time.Now().Before(end) && ctx.Err() == nil; {
		heal := j.cut(j.around(host)...)
		pause(ctx, time.Duration(s.size)*time.Millisecond)
		heal()
		pause(ctx, time.Duration(s.size)*time.Millisecond)
	}
}

// again cuts what is meant to be cut, after somebody else has healed a host.
func (j *injector) again() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for w, n := range j.cuts {
		if n > 0 {
			j.net.CutOneWay(j.hosts[w.from], j.hosts[w.to])
		}
	}
}

// strike makes one fault happen, and ends it; sooner if ctx ends.
func (r *run) strike(ctx context.Context, s strike) {
	if !pause(ctx, time.Until(r.began.Add(s.at))) {
		return
	}
	who := resolve(s, len(r.nodes), r.leader())
	r.log("%v (%v)", s, who)
	r.bit(s.what)
	if heal, ok := r.inject.network(s, who); ok {
		pause(ctx, s.lasts)
		heal()
		r.log("%s is over", s.what)
		return
	}
	n := r.nodes[0]
	if len(who) > 0 {
		n = r.nodes[who[0]]
	}
	switch s.what {
	case "flap":
		r.inject.flap(ctx, s, who[0])
	case "clock":
		n.ahead.Store(int64(time.Duration(s.size) * time.Millisecond))
		pause(ctx, s.lasts)
		n.ahead.Store(0)
	case "snapshot":
		if l := n.live.Load(); l != nil {
			_ = l.store.Snapshot() // whether it succeeds is its own affair
		}
	case "move", "demote", "remove", "reborn":
		r.change(ctx, s, who)
	default:
		r.strikeNode(ctx, s, n)
	}
	r.log("%s is over", s.what)
}

// resolve finds out who of n nodes is meant: the leader may be one that is named already.
func resolve(s strike, n, lead int) []int {
	who := slices.Clone(s.nodes)
	i := slices.Index(who, leader)
	if i < 0 {
		return who
	}
	lead = max(lead, 0)
	for k, other := range who {
		if other != lead {
			continue
		}
		for free := range n {
			if free != lead && !slices.Contains(who, free) {
				who[k] = free
			}
		}
	}
	who[i] = lead
	return who
}

// strikeNode is for faults of processes, machines and disks.
func (r *run) strikeNode(ctx context.Context, s strike, n *node) {
	switch s.what {
	case "kill":
		r.down(ctx, n, s.lasts, func() { n.crash(false) })
	case "restart":
		r.down(ctx, n, s.lasts, n.stop)
	case "power":
		r.powerCut(ctx, s.lasts, n)
	case "power-all":
		r.powerCut(ctx, s.lasts, r.nodes...)
	case "crash-loop":
		for range s.size {
			if i := r.leader(); i >= 0 {
				r.down(ctx, r.nodes[i], 200*time.Millisecond, func() { r.nodes[i].crash(false) })
			}
			if !pause(ctx, time.Second) {
				return
			}
		}
	case "slow-disk":
		n.disks(time.Duration(s.size)*time.Millisecond, false)
		pause(ctx, s.lasts)
		n.disks(diskTakes, false)
	case "hung-disk":
		n.doom(hangs, false)
		pause(ctx, hangs)
		n.disks(diskTakes, false)
	case "failed-sync":
		n.doom(diskTakes, true)
	default:
		r.fail("there is no fault %s", s.what)
	}
}

// disks sets how the node's disk behaves now.
func (n *node) disks(takes time.Duration, fails bool) {
	n.turn.take()
	defer n.turn.give()
	n.disk.set(takes, fails)
}

// doom makes the disk of a process that lives do what it must not survive.
func (n *node) doom(takes time.Duration, fails bool) {
	n.turn.take()
	defer n.turn.give()
	if l := n.live.Load(); l != nil {
		l.doomed.Store(true)
		l.disk.set(takes, fails)
	}
}

// down ends a node in some way and starts it after a while.
func (r *run) down(ctx context.Context, n *node, lasts time.Duration, end func()) {
	n.turn.take()
	end()
	n.turn.give()
	pause(ctx, lasts)
	r.up(n)
}

func (r *run) up(n *node) {
	n.turn.take()
	defer n.turn.give()
	if n.live.Load() != nil {
		return
	}
	if err := n.start(); err != nil {
		r.fail("%s does not start: %v", n.name, err)
	}
}

// powerCut takes the power from machines: the others hear nothing of it.
func (r *run) powerCut(ctx context.Context, lasts time.Duration, nodes ...*node) {
	var heals []func()
	for _, n := range nodes {
		heals = append(heals, r.inject.cut(r.inject.around(slices.Index(r.nodes, n))...))
		n.turn.take()
		n.crash(true)
		n.turn.give()
	}
	pause(ctx, lasts)
	for i, n := range nodes {
		heals[i]()
		r.up(n)
	}
}

// change is for faults of the cluster's members. One happens at a time.
func (r *run) change(ctx context.Context, s strike, who []int) {
	n := r.nodes[who[0]]
	if s.what == "move" {
		if l := r.leading(); l != nil {
			err := l.store.Handover(ctx, r.nodes[who[1]].id)
			r.log("move: %v", err)
		}
		return
	}
	if !r.members.TryLock() {
		return
	}
	defer r.members.Unlock()
	l := r.leading()
	if l == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if l.n == n { // a leader that goes gives its role away first, as the steward has it
		other := r.nodes[(slices.Index(r.nodes, n)+1)%len(r.nodes)]
		if err := l.store.Handover(ctx, other.id); err != nil {
			r.log("%s: %v", s.what, err)
			return
		}
		if l = r.leading(); l == nil || l.n == n {
			return
		}
	}
	away := l.store.Remove
	if s.what == "demote" {
		away = l.store.Demote
	}
	if err := away(ctx, n.id); err != nil || l.dead.Load() {
		r.log("%s: %v", s.what, err)
		return
	}
	if s.what == "reborn" {
		r.down(ctx, n, s.lasts, func() {
			n.crash(true)
			n.disk = newDisk(r.diskDice())
			n.disk.lazy = r.lazy
		})
	} else {
		pause(ctx, s.lasts)
	}
	_ = r.vote(ctx, n) // else when all is healed
}

// vote makes a node a voter, whoever leads.
func (r *run) vote(ctx context.Context, n *node) error {
	for {
		err := consensus.ErrNoQuorum
		if l := r.leading(); l != nil {
			if err = l.store.AddVoter(ctx, n.id); err == nil {
				return nil
			}
		}
		if !pause(ctx, 200*time.Millisecond) {
			return err
		}
	}
}

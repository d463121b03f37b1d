package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// side is which way packets are lost, as the victim sees it.
type side int

const (
	inward  side = 1
	outward side = 2
	both    side = inward | outward
)

// cut drops packets between the victim and some other nodes, on arrival. Whoever sends
// notices nothing, and clients are not touched.
type cut struct {
	Env
	side side
	from []*world.Node // on the other side
	what string        // a statement of nftables: drop
	as   history.LossKind
	on   map[*world.Node]bool
}

func newCut(e Env, s side) *cut {
	return &cut{Env: e, side: s, from: e.others(), what: "drop", as: history.LossCut, on: map[*world.Node]bool{}}
}

// newBridge cuts the victim off from one other node; further ones reach both.
func newBridge(e Env) Fault {
	c := newCut(e, both)
	c.from = []*world.Node{c.from[e.Rand.IntN(len(c.from)-len(e.Taken))]}
	return c
}

func (f *cut) table() string { return fmt.Sprintf("lab_%x", f.Use.Pick) }

func (f *cut) Healthy(ctx context.Context) error {
	for _, o := range f.from {
		if !f.Victim.Reaches(ctx, o, probeWithin) || !o.Reaches(ctx, f.Victim, probeWithin) {
			return fmt.Errorf("%s and %s do not reach each other", f.Victim.Name, o.Name)
		}
	}
	return nil
}

func (f *cut) Inject(ctx context.Context) error {
	f.Lost(f.Victim, f.as)
	return f.apply(ctx)
}

func (f *cut) apply(ctx context.Context) error {
	if f.side&inward != 0 {
		if err := f.rules(ctx, f.Victim, f.from); err != nil {
			return err
		}
	}
	if f.side&outward != 0 {
		for _, o := range f.from {
			if err := f.rules(ctx, o, []*world.Node{f.Victim}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *cut) rules(ctx context.Context, at *world.Node, from []*world.Node) error {
	f.on[at] = true
	return at.Rules(ctx, "inet", f.table(), fmt.Sprintf("chain in {\ntype filter hook input priority 0\nip saddr { %s } %s\n}", addresses(from), f.what))
}

func addresses(nodes []*world.Node) string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.IP)
	}
	return strings.Join(out, ", ")
}

// Bites sends datagrams, because those show one direction.
func (f *cut) Bites(context.Context) error {
	for _, way := range []struct {
		lost     bool
		from, to *world.Node
	}{{f.side&inward != 0, f.from[0], f.Victim}, {f.side&outward != 0, f.Victim, f.from[0]}} {
		arrived, err := datagrams(way.from, way.to, 5)
		if err != nil {
			return err
		}
		if (arrived == 0) != way.lost {
			return fmt.Errorf("of 5 datagrams from %s to %s %d arrive", way.from.Name, way.to.Name, arrived)
		}
	}
	return nil
}

func (f *cut) Heal(ctx context.Context) error {
	var err error
	for n := range f.on {
		if e := n.Unrule(ctx, "inet", f.table()); e != nil {
			err = errors.Join(err, e)
			continue
		}
		delete(f.on, n)
	}
	return err
}

// loss loses a fifth of the packets, each way.
type loss struct{ cut }

func (f *loss) Inject(ctx context.Context) error {
	f.what, f.as = "numgen random mod 100 < 20 drop", history.LossShaky
	return f.cut.Inject(ctx)
}

// Bites: of 200 datagrams 40 are lost, and with a likelihood of 0.99999 15 to 70.
func (f *loss) Bites(context.Context) error {
	const sent = 200
	arrived, err := datagrams(f.Victim, f.from[0], sent)
	if lost := sent - arrived; err == nil && (lost < 15 || lost > 70) {
		return fmt.Errorf("of %d datagrams %d are lost, not about a fifth", sent, lost)
	}
	return err
}

// resets answers one packet of a hundred with a reset, so that its connection breaks.
type resets struct{ cut }

func (f *resets) Inject(ctx context.Context) error {
	f.what, f.as = "meta l4proto tcp tcp flags & rst == 0 numgen random mod 100 < 1 counter reject with tcp reset", history.LossShaky
	return f.cut.Inject(ctx)
}

func (f *resets) Bites(ctx context.Context) error {
	return world.Until(ctx, 5*time.Second, "a connection is reset", func(ctx context.Context) error {
		for n := range f.on {
			hits, err := n.Hits(ctx, "inet", f.table())
			if err != nil || hits > 0 {
				return err
			}
		}
		return errors.New("none was")
	})
}

// flapping cuts off and heals in turn.
type flapping struct {
	cut
	loop *loop
}

func newFlapping(e Env) Fault {
	f := &flapping{cut: *newCut(e, both)}
	f.as = history.LossShaky
	return f
}

// Bites looks while the link is cut for the first time; then it begins to flap.
func (f *flapping) Bites(ctx context.Context) error {
	if err := f.cut.Bites(ctx); err != nil {
		return err
	}
	f.loop = begin(ctx, func(ctx context.Context) error {
		for {
			if !sleep(ctx, f.between(50*time.Millisecond, 900*time.Millisecond)) {
				return nil
			}
			if err := f.cut.Heal(context.WithoutCancel(ctx)); err != nil {
				return err
			}
			if !sleep(ctx, f.between(50*time.Millisecond, 900*time.Millisecond)) {
				return nil
			}
			if err := f.apply(context.WithoutCancel(ctx)); err != nil {
				return err
			}
		}
	})
	return nil
}

func (f *flapping) Heal(ctx context.Context) error {
	return errors.Join(f.loop.end(), f.cut.Heal(ctx))
}

// silence drops what the victim sends to the other nodes, and all that it is sent, by
// clients too. It is the hardest sort of black hole: the network goes on to say that the
// host is there.
type silence struct{ cut }

// Silence is like the fault black-hole, by rules in place of a cable: nothing ever hears from
// the network that the host is gone.
func Silence(e Env) Fault { return &silence{*newCut(e, both)} }

func (f *silence) Inject(ctx context.Context) error {
	f.Lost(f.Victim, history.LossUnknown)
	f.side = outward
	if err := f.apply(ctx); err != nil {
		return err
	}
	f.side, f.on[f.Victim] = both, true
	return f.Victim.Rules(ctx, "inet", f.table(), "chain in {\ntype filter hook input priority 0\niifname != \"lo\" drop\n}")
}

func (f *silence) Bites(ctx context.Context) error {
	if doorOpen(ctx, f.Victim, 200*time.Millisecond) == nil {
		return fmt.Errorf("clients reach the door of %s", f.Victim.Name)
	}
	return f.cut.Bites(ctx)
}

// blackHole takes the cable out: clients do not reach the node either.
type blackHole struct {
	Env
	out bool
}

func (f *blackHole) Healthy(ctx context.Context) error { return running(ctx, f.Victim) }

func (f *blackHole) Inject(ctx context.Context) error {
	f.Lost(f.Victim, history.LossUnknown)
	f.out = true
	return f.Victim.Plug(ctx, false)
}

func (f *blackHole) Bites(ctx context.Context) error {
	if doorOpen(ctx, f.Victim, 200*time.Millisecond) == nil {
		return fmt.Errorf("clients reach the door of %s", f.Victim.Name)
	}
	if o := f.others()[0]; o.Reaches(ctx, f.Victim, 200*time.Millisecond) {
		return fmt.Errorf("%s reaches %s", o.Name, f.Victim.Name)
	}
	return nil
}

func (f *blackHole) Heal(ctx context.Context) error {
	if !f.out {
		return nil
	}
	f.out = false
	return f.Victim.Plug(ctx, true)
}

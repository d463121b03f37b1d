package fault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// delay leads the victim's connections to and from the others through a relay that keeps
// everything for a while. Connections that exist are reset first: address translation
// takes new ones alone.
type delay struct {
	Env
	relay *relay
	on    bool
}

func (f *delay) table() string { return fmt.Sprintf("lab_%x", f.Use.Pick) }

func (f *delay) Healthy(ctx context.Context) error {
	if o := f.someOther(); !f.Victim.Reaches(ctx, o, probeWithin) {
		return fmt.Errorf("%s does not reach %s", f.Victim.Name, o.Name)
	}
	return nil
}

func (f *delay) Inject(ctx context.Context) (err error) {
	f.Lost(f.Victim, history.LossShaky) // connections break at the begin and at the end
	if f.relay, err = openRelay(f.Victim, f.between(20*time.Millisecond, 200*time.Millisecond)); err != nil {
		return err
	}
	others := addresses(f.others())
	port := f.relay.port()
	if err := f.Victim.Rules(ctx, "ip", f.table(), fmt.Sprintf(`chain out {
type nat hook output priority -100
meta mark %d accept
ip daddr { %s } tcp dport 14747 redirect to :%d
}
chain in {
type nat hook prerouting priority -100
ip saddr { %s } tcp dport 14747 redirect to :%d
}`, relayMark, others, port, others, port)); err != nil {
		f.relay.close()
		return err
	}
	f.on = true
	return f.breakOld(ctx)
}

// breakOld resets the connections of before.
func (f *delay) breakOld(ctx context.Context) error {
	c := newCut(f.Env, both)
	c.Use.Pick++ // a table of its own
	c.what = "meta l4proto tcp tcp flags & (rst | syn) == 0 reject with tcp reset"
	err := c.apply(ctx)
	sleep(ctx, 300*time.Millisecond)
	return errors.Join(err, c.Heal(context.WithoutCancel(ctx)))
}

func (f *delay) Bites(ctx context.Context) error {
	return world.Until(ctx, 5*time.Second, "the relay carries something", func(context.Context) error {
		if f.relay.carried.Load() == 0 {
			return errors.New("it has carried nothing")
		}
		return nil
	})
}

// Heal ends what the relay carries, and takes the rules away only after that: without them
// the ends of those connections would not be translated, and nobody would hear of them.
// The relay takes connections for as long, and ends them at once: one that is refused would
// look like a crash.
func (f *delay) Heal(ctx context.Context) error {
	if !f.on {
		return nil
	}
	f.on = false
	f.relay.drop()
	sleep(ctx, 200*time.Millisecond)
	err := f.Victim.Unrule(ctx, "ip", f.table())
	f.relay.close()
	return err
}

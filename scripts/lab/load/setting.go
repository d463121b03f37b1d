package load

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/scripts/bench"
	"github.com/ushercluster/usher/scripts/lab/history"
)

const (
	maxPerKey  = 8 // clients: porcupine's search grows with those that are under way at a time
	staleShare = 3 // every n-th reader reads stale
)

// keysFor is how many settings the clients share: as few as possible, so that they get in
// each other's way. The last one is not written by those who do not compare, or where all
// is slow no comparer would ever succeed.
func keysFor(writers, comparers, readers int) (int, error) {
	apart := 0
	if writers > 0 && comparers > 0 {
		apart = 1
	}
	for keys := 1 + apart; keys <= bench.Keys; keys++ {
		if share(writers, keys-apart)+share(comparers, keys)+share(readers, keys) <= maxPerKey {
			return keys, nil
		}
	}
	return 0, fmt.Errorf("load: too many clients of settings: at most %d on each of %d keys", maxPerKey, bench.Keys)
}

// share is the most clients that one of the keys has.
func share(clients, keys int) int { return (clients + keys - 1) / keys }

// prepare makes sessions say whose engine answered, keeps all occurrences, makes the tasks,
// and gives each setting in use its first value, so that whatever is read was written.
func (l *Load) prepare(ctx context.Context) error {
	for _, s := range []struct{ key, value string }{{"door.show_node", "true"}, {"scheduler.history", "100000"}} {
		if err := l.anywhere(ctx, "set "+s.key, func(ctx context.Context, c *admin.Client) error {
			_, err := c.SetSetting(ctx, s.key, s.value)
			return err
		}); err != nil {
			return err
		}
	}
	if l.cfg.Sessions > 0 {
		if err := l.doorsSay(ctx); err != nil {
			return err
		}
	}
	if l.cfg.Writers+l.cfg.Comparers+l.cfg.Readers > 0 {
		a := l.newAsker(0)
		defer a.close()
		for k := range l.keys {
			for !a.write(bench.Setting(k), l.value(k), a.route.next(l.cfg.Rec.Now()), 0) {
				if ctx.Err() != nil {
					return fmt.Errorf("give %s its first value: %w", bench.Setting(k), ctx.Err())
				}
				a.again(false)
			}
		}
	}
	return l.makeTasks(ctx)
}

// doorsSay waits until every door names the node whose engine answered: settings are felt
// at a door a moment after the state is there.
func (l *Load) doorsSay(ctx context.Context) error {
	client := &http.Client{Timeout: l.pace.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, n := range l.cfg.Nodes {
		for {
			resp, err := client.Get("http://" + n.Door + "/doc/" + url.PathEscape(l.cfg.Document) + "/")
			if err == nil {
				said := l.isNode(resp.Header.Get(nodeHeader))
				resp.Body.Close()
				if said {
					break
				}
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("the door of %s does not name nodes: %w", n.Name, errors.Join(ctx.Err(), err))
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// isNode reports whether it is a node's name. A node that has just joined goes by its ID
// for a moment.
func (l *Load) isNode(name string) bool {
	return slices.ContainsFunc(l.cfg.Nodes, func(n Node) bool { return n.Name == name })
}

// value is a value of key k that nobody has written.
func (l *Load) value(k int) string { return bench.Value(k, l.seq.Add(1)) }

// anywhere asks one node after the other until one does it.
func (l *Load) anywhere(ctx context.Context, what string, f func(context.Context, *admin.Client) error) error {
	var last error
	for i := 0; ; i++ {
		c, err := l.client(l.cfg.Nodes[i%len(l.cfg.Nodes)])
		if err != nil {
			return err
		}
		try, cancel := context.WithTimeout(ctx, l.pace.Patience)
		err = f(try, c)
		cancel()
		c.Close()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, errors.Join(ctx.Err(), last))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// client is the typed client of a node, for what is not load.
func (l *Load) client(n Node) (*admin.Client, error) {
	return admin.NewClient(admin.ClientConfig{Address: address(n.API), Token: n.Token})
}

func (l *Load) startSettings() {
	id := 1
	run := func(n int, f func(*asker, int)) {
		for i := range n {
			a := l.newAsker(id)
			id++
			l.wg.Go(func() {
				defer a.close()
				f(a, i)
			})
		}
	}
	run(l.cfg.Writers, (*asker).keepWriting)
	run(l.cfg.Comparers, (*asker).keepComparing)
	run(l.cfg.Readers, (*asker).keepReading)
}

// keepWriting writes without looking.
func (a *asker) keepWriting(i int) {
	k := i % a.l.keys
	if a.l.cfg.Comparers > 0 {
		k = i % (a.l.keys - 1)
	}
	for a.l.sleep(a.rng, a.l.pace.Setting) {
		node := a.route.next(a.l.cfg.Rec.Now())
		if !a.again(a.write(bench.Setting(k), a.l.value(k), node, 0)) {
			return
		}
	}
}

// keepComparing reads, and writes if nobody else has written in between.
func (a *asker) keepComparing(i int) {
	k := a.l.keys - 1 - i%a.l.keys
	for a.l.sleep(a.rng, a.l.pace.Setting) {
		node := a.route.next(a.l.cfg.Rec.Now())
		seen, ok := a.read(bench.Setting(k), node, false)
		if ok && a.l.sleep(a.rng, a.l.pace.Setting/8) && seen.Modified != 0 {
			ok = a.write(bench.Setting(k), a.l.value(k), node, seen.Modified)
		}
		if !a.again(ok) {
			return
		}
	}
}

// keepReading asks any node at any time, also one that has just failed: that is where a stale
// answer would come from. Reading stale, it goes on to ask one node for a while.
func (a *asker) keepReading(i int) {
	key := bench.Setting(i % a.l.keys)
	stale := i%staleShare == staleShare-1
	for n := 0; a.l.sleep(a.rng, a.l.pace.Setting); n++ {
		node := a.rng.IntN(len(a.l.cfg.Nodes))
		if stale {
			node = (a.id + n/8) % len(a.l.cfg.Nodes)
		}
		if _, ok := a.read(key, node, stale); !ok && !a.l.sleep(a.rng, backoffMin) {
			return
		}
	}
}

// Final asks every node for what it knows, and any for the occurrences: what
// history.Input wants, but for the hashes. It is for the time after Stop, when all is
// healed; it waits until all nodes show the same revision.
func (l *Load) Final(ctx context.Context) ([]history.NodeState, []history.Occurrence, error) {
	nodes, err := l.settled(ctx)
	if err != nil {
		return nodes, nil, err
	}
	var rows []history.Occurrence
	err = l.anywhere(ctx, "list the occurrences", func(ctx context.Context, c *admin.Client) error {
		rows, err = listOccurrences(ctx, c)
		return err
	})
	return nodes, rows, err
}

// settled reads the nodes until two looks in a row agree; when ctx ends it returns the last.
func (l *Load) settled(ctx context.Context) ([]history.NodeState, error) {
	var last error
	for {
		var out []history.NodeState
		even := true
		for _, n := range l.cfg.Nodes {
			s, err := l.stateOf(ctx, n)
			if err != nil {
				last = err
				even = false
				break
			}
			out = append(out, s)
			even = even && s.Revision == out[0].Revision
		}
		if even {
			return out, nil
		}
		select {
		case <-ctx.Done():
			if len(out) == len(l.cfg.Nodes) {
				return out, nil // they differ: for the check to say
			}
			return nil, fmt.Errorf("ask for the final states: %w", errors.Join(ctx.Err(), last))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (l *Load) stateOf(ctx context.Context, n Node) (history.NodeState, error) {
	c, err := l.client(n)
	if err != nil {
		return history.NodeState{}, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, l.pace.Patience)
	defer cancel()
	list, err := c.Settings(ctx, admin.Stale(), admin.Page(1000, ""))
	if err != nil {
		return history.NodeState{}, fmt.Errorf("ask %s: %w", n.Name, err)
	}
	s := history.NodeState{Name: n.Name, Revision: list.Revision, Settings: map[string]history.Setting{}}
	for _, i := range list.Items {
		s.Settings[i.Key] = history.Setting{Value: i.Value, Revision: i.Modified}
	}
	return s, nil
}

package sim

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/clustertest"
	"github.com/ushercluster/usher/transport/memnet"
)

// The time of faults when nothing is asked for, and how many seeds.
const (
	clusterTime  = 2 * time.Minute
	clusterSeeds = 10
)

// TestCluster breaks whole clusters: agents with their gossip, doors, engines, scheduler
// and files. A crash here is that of a process; what it has written is on the disk.
func TestCluster(t *testing.T) {
	seeds(t, (clusterSeeds+slowdown-1)/slowdown, func(t *testing.T, seed uint64) {
		f := newFleet(t, seed)
		defer f.report()
		f.open(3 + 2*int(seed%4/3))
		f.play(forTime(clusterTime))
		f.heal()
		f.judge()
	})
}

// fleet is a cluster of agents under one seed.
type fleet struct {
	*journal
	*clustertest.Cluster
	t      *testing.T
	nodes  []*clustertest.Node
	apis   []*admin.Client
	agents []atomic.Pointer[agent.Agent] // those that run
	turns  []turn                        // held over a stop and a start
	inject *injector
	// spared is a node that nothing is done to, in seeds that only crash; -1: none.
	spared int

	history history
	writes  atomic.Uint64
	wanted  sync.Map // what a write sets, by ID
	users   []*user
	seen    sightings
}

func newFleet(t *testing.T, seed uint64) *fleet {
	f := &fleet{t: t, journal: newJournal(t, seed, "cluster"), spared: -1}
	f.seen = sightings{bad: f.fail, leaders: map[uint64]string{}, hashes: map[uint64]sight{}, last: map[*agent.Agent]sight{}}
	return f
}

// tasks run all the time, every so often, and take a while.
const (
	taskEvery = 5 * time.Second
	taskTakes = time.Second
)

func taskNames() []string { return []string{"t1", "t2"} }

// open makes the cluster, its tasks and its users' sessions.
func (f *fleet) open(n int) {
	f.Cluster = clustertest.New(f.t, n, func(n *clustertest.Node) {
		n.Delay = func(string) time.Duration { return taskTakes }
		n.Log = errorLines{f, n.Name}
	})
	var hosts []*memnet.Host
	f.agents = make([]atomic.Pointer[agent.Agent], n)
	for i, n := range f.Up() {
		f.nodes = append(f.nodes, n)
		f.apis = append(f.apis, n.API())
		f.agents[i].Store(n.Agent)
		f.turns = append(f.turns, newTurn())
		hosts = append(hosts, n.Host)
	}
	f.inject = newInjector(f.Net, hosts, dice(f.seed, "network"))
	f.Net.SetDelay(time.Millisecond)
	if f.seed%3 == 0 {
		f.spared = int(f.seed/3) % n
	}
	if _, err := f.apis[0].SetSetting(f.t.Context(), "door.show_node", "true"); err != nil {
		f.t.Fatal(err)
	}
	for _, name := range taskNames() {
		spec := admin.TaskSpec{
			Document: "sales", Every: admin.Duration(taskEvery), Attempts: 3,
			Timeout: admin.Duration(time.Minute), CatchUp: admin.Duration(5 * time.Minute),
		}
		if _, err := f.apis[0].PutTask(f.t.Context(), name, spec); err != nil {
			f.t.Fatal(err)
		}
	}
	f.WaitSame()
	time.Sleep(2 * time.Second) // load reports
	for i := range userCount {
		f.users = append(f.users, newUser(f, i))
	}
}

// clusterShapes are the faults of agents.
func clusterShapes(crashesOnly bool) []shape {
	var out []shape
	for _, s := range shapes() {
		switch s.what {
		case "kill", "restart", "crash-loop", "move":
			out = append(out, s)
		case "power-all":
			if !crashesOnly {
				out = append(out, s)
			}
		case "cut", "cut-one-way", "isolate", "mute", "deaf", "split", "bridge", "flap", "loss", "jitter", "slow-link", "break":
			if !crashesOnly {
				out = append(out, s)
			}
		}
	}
	return out
}

// play lets users and operators work while the plan's faults strike.
func (f *fleet) play(d time.Duration) {
	ctx, cancel := context.WithTimeout(f.t.Context(), d)
	defer cancel()
	f.begin()
	var work sync.WaitGroup
	for i := range 3 {
		work.Go(func() { f.operate(ctx, i) })
	}
	for _, u := range f.users {
		work.Go(func() { u.work(ctx) })
	}
	work.Go(func() { f.watch(ctx) })
	var heals sync.WaitGroup
	for _, s := range plan(dice(f.seed, "faults"), len(f.nodes), d, clusterShapes(f.spared >= 0)) {
		if !pause(ctx, time.Until(f.began.Add(s.at))) {
			break
		}
		f.strike(ctx, s, &heals)
	}
	<-ctx.Done()
	heals.Wait()
	work.Wait()
}

// strike begins a fault of the network, or does one of a node.
func (f *fleet) strike(ctx context.Context, s strike, heals *sync.WaitGroup) {
	who := resolve(s, len(f.nodes), f.central())
	if f.spared >= 0 && slices.Contains(who, f.spared) && s.what != "move" {
		return
	}
	f.log("%v (%v)", s, who)
	f.bit(s.what)
	if heal, ok := f.inject.network(s, who); ok {
		heals.Go(func() {
			pause(ctx, s.lasts)
			heal()
			f.log("%s is over", s.what)
		})
		return
	}
	heals.Go(func() {
		f.strikeNode(ctx, s, who)
		f.log("%s is over", s.what)
	})
}

// strikeNode is for faults of agents, and for moves.
func (f *fleet) strikeNode(ctx context.Context, s strike, who []int) {
	switch s.what {
	case "flap":
		f.inject.flap(ctx, s, who[0])
	case "move":
		_, err := f.apis[who[0]].MoveCentral(ctx, f.nodes[who[1]].Name)
		f.log("move: %v", err)
	case "kill":
		f.down(ctx, who[0], s.lasts, (*clustertest.Node).Crash)
	case "restart":
		f.down(ctx, who[0], s.lasts, (*clustertest.Node).Stop)
	case "power-all":
		var all sync.WaitGroup
		for i := range f.nodes {
			all.Go(func() { f.down(ctx, i, s.lasts, (*clustertest.Node).Crash) })
		}
		all.Wait()
	case "crash-loop":
		for range s.size {
			if i := f.central(); i != f.spared && i >= 0 {
				f.down(ctx, i, 0, (*clustertest.Node).Crash)
			}
			if !pause(ctx, time.Second) {
				return
			}
		}
	}
}

// down ends an agent in some way, and starts it after a while.
func (f *fleet) down(ctx context.Context, i int, lasts time.Duration, how func(*clustertest.Node)) {
	f.turns[i].take()
	defer f.turns[i].give()
	if f.agents[i].Swap(nil) == nil {
		return
	}
	how(f.nodes[i])
	f.inject.again()
	pause(ctx, lasts)
	f.nodes[i].Start()
	f.agents[i].Store(f.nodes[i].Agent)
}

// central is the number of the node that leads, or -1.
func (f *fleet) central() int {
	for i := range f.agents {
		if a := f.agents[i].Load(); a != nil && a.Status().IsLeader {
			return i
		}
	}
	return -1
}

// heal ends every fault and waits until the cluster is whole.
func (f *fleet) heal() {
	f.log("everything is healed")
	f.Net.HealAll()
	healed := time.Now()
	for _, n := range f.nodes {
		n.WaitReady()
	}
	f.WaitCentral()
	f.Eventually(writeWithin, "acknowledged write", func() bool { return f.set(f.Central(), "healed") == nil })
	f.log("a write is acknowledged %v after the end of all faults", time.Since(healed))
	f.WaitVoters(len(f.nodes))
}

func (f *fleet) set(n *clustertest.Node, name string) error {
	if n == nil {
		return context.Canceled
	}
	_, err := n.API().RenameCluster(f.t.Context(), name)
	return err
}

// judge checks what the whole run has shown.
func (f *fleet) judge() {
	for _, u := range f.users {
		u.settle()
	}
	f.judgeTasks()
	f.WaitSame()
	f.seen.look(f.agents)
	view := f.nodes[0].Agent.View()
	faults := f.judgeWrites(view)
	for _, what := range faults {
		f.fail("%s", what)
	}
	writes, reads := f.history.count(opWrite, acked), f.history.count(opRead, acked)
	good, bad := 0, 0
	for _, u := range f.users {
		good, bad = good+u.good, bad+u.bad
	}
	f.log("%d writes acknowledged, %d refused, %d unknown, %d not; %d reads, %d not; %d requests of users answered, %d not; %d terms led; faults %v",
		writes, f.history.count(opWrite, refused), f.history.count(opWrite, unknown), f.history.count(opWrite, never),
		reads, f.history.count(opRead, never), good, bad, len(f.seen.leaders), f.strikes())
	if seconds := int(time.Since(f.began).Seconds()); writes < seconds/10 || reads < seconds/10 || good < seconds/2 {
		f.fail("%d writes, %d reads and %d answers to users in %d seconds show nothing", writes, reads, good, seconds)
	}
}

// judgeTasks stops the tasks, and looks whether every due time has one record, which is
// an end.
func (f *fleet) judgeTasks() {
	for _, name := range taskNames() {
		f.Eventually(time.Minute, "pause of "+name, func() bool {
			_, err := f.Central().API().PauseTask(f.t.Context(), name, "the run ends")
			return err == nil
		})
	}
	f.Eventually(3*time.Minute, "end of every occurrence", func() bool {
		c := f.Central()
		return c != nil && len(c.Agent.View().OpenOccurrences()) == 0
	})
	states := map[string]int{}
	for _, name := range taskNames() {
		all := f.Central().Agent.View().Occurrences(name)
		for i, o := range all {
			states[string(o.State)]++
			if !o.State.Terminal() {
				f.fail("%s, due %v, is %s", name, o.Due.Time(), o.State)
			}
			if i > 0 && o.Due.Time().Sub(all[i-1].Due.Time()) != taskEvery {
				f.fail("%s: %v follows %v", name, o.Due.Time(), all[i-1].Due.Time())
			}
		}
		if least := int(time.Since(f.began)/taskEvery) / 2; len(all) < least {
			f.fail("%s has %d occurrences", name, len(all))
		}
	}
	f.log("occurrences: %v", states)
}

// errorLines takes a node's log lines and keeps those that a person must act on, or all.
type errorLines struct {
	f    *fleet
	name string
}

func (e errorLines) Write(p []byte) (int, error) {
	if *withLogs || bytes.Contains(p, []byte(`"level":"error"`)) {
		e.f.log("  %s %s", e.name, bytes.TrimSpace(p))
	}
	return len(p), nil
}

// sightings hold what agents show against each other.
type sightings struct {
	bad     func(string, ...any)
	leaders map[uint64]string
	hashes  map[uint64]sight
	last    map[*agent.Agent]sight
}

// watch looks at all agents until ctx ends.
func (f *fleet) watch(ctx context.Context) {
	for pause(ctx, 100*time.Millisecond) {
		f.seen.look(f.agents)
	}
}

func (s *sightings) look(agents []atomic.Pointer[agent.Agent]) {
	for i := range agents {
		a := agents[i].Load()
		if a == nil {
			continue
		}
		name := fmt.Sprintf("n%d", i+1)
		before, after := a.Status(), a.Status()
		if before.IsLeader && after.IsLeader && before.Term == after.Term {
			if known, ok := s.leaders[after.Term]; ok && known != name {
				s.bad("term %d has two leaders: %s and %s", after.Term, known, name)
			}
			s.leaders[after.Term] = name
		}
		v := a.View()
		if v.Cached() || v.Revision() == 0 {
			continue
		}
		if s.last[a].at.After(v.At()) {
			s.bad("the clock of %s goes back, from %v to %v", name, s.last[a].at, v.At())
		}
		now := sight{v.Hash(), v.At(), name}
		s.last[a] = now
		if known, ok := s.hashes[v.Revision()]; ok && known.hash != now.hash {
			s.bad("states diverge at revision %d: %s has %.8s, %s has %.8s", v.Revision(), known.by, known.hash, name, now.hash)
		}
		s.hashes[v.Revision()] = now
	}
}

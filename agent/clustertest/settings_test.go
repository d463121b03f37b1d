package clustertest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// change is one setting and how a node's behaviour shows it.
type change struct {
	key, value string
	with       map[string]string // other settings while this one is looked at
	begin, end func(*bench)      // around all looks; may be nil
	alone      bool              // looks at several nodes would disturb each other
	own        bool              // looks need users with sessions on the node's own engine: bench.own
	// felt reports whether the node behaves as the value says. It may be called from
	// any goroutine and take time.
	felt func(*bench, *Node) bool
}

// TestEverySettingIsFeltOnEveryNode changes each setting through a random node and
// looks at what all nodes do: by default, a second after the change, and a second
// after it was taken back.
func TestEverySettingIsFeltOnEveryNode(t *testing.T) {
	changes := slices.Concat(doorChanges(), sessionChanges(), clusterChanges())
	rows := map[string]bool{}
	for _, r := range changes {
		if spec, ok := fsm.SchemaOf(r.key); !ok || rows[r.key] || spec.Default == r.value {
			t.Errorf("the row of %s = %s has no setting, is the second one, or changes nothing", r.key, r.value)
		}
		rows[r.key] = true
	}
	for _, spec := range fsm.Schema() {
		if !rows[spec.Key] {
			t.Errorf("nobody looks at what %s does: add a row", spec.Key)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 3)
		for _, r := range changes {
			b.try(r)
		}
	})
}

// try changes the setting and takes it back.
func (b *bench) try(r change) {
	for key, value := range r.with {
		b.set(key, value)
	}
	time.Sleep(time.Second)
	if r.begin != nil {
		r.begin(b)
		b.keepSessions()
	}
	b.look(r, false, "by default")
	at := b.set(r.key, r.value)
	time.Sleep(time.Second)
	b.look(r, true, "a second after it was set on "+at)
	at = b.unset(r.key)
	time.Sleep(time.Second)
	b.look(r, false, "a second after it was unset on "+at)
	if r.end != nil {
		r.end(b)
	}
	b.keep = nil
	for key := range r.with {
		b.unset(key)
	}
}

// look asks every node whether it feels the setting.
func (b *bench) look(r change, want bool, when string) {
	b.doing = fmt.Sprintf("%s = %s %s", r.key, r.value, when)
	if r.own {
		b.openOwn()
	}
	felt := make([]bool, len(b.nodes))
	var looks sync.WaitGroup
	for i, n := range b.nodes {
		looks.Go(func() { felt[i] = r.felt(b, n) })
		if r.alone {
			looks.Wait()
		}
	}
	looks.Wait()
	for i, n := range b.nodes {
		switch {
		case want && !felt[i]:
			b.T.Errorf("not felt on %s: %s", n.Name, b.doing)
		case !want && felt[i]:
			b.T.Errorf("%s behaves as if: %s", n.Name, b.doing)
		}
	}
	b.closeSessions()
	b.settle()
}

// doorChanges are the settings that users of a door meet.
func doorChanges() []change {
	return []change{
		{key: "door.access_log_sample", value: "1", with: map[string]string{"door.access_log": "sampled"}, felt: func(b *bench, n *Node) bool {
			before := b.logs[n.Name].len()
			b.user(n).get("/sampled")
			time.Sleep(10 * time.Millisecond) // the line comes after the answer
			return b.logs[n.Name].has(before, `"component":"access"`, `"path":"/sampled"`)
		}},
		{key: "door.access_log", value: "all", felt: func(b *bench, n *Node) bool {
			before := b.logs[n.Name].len()
			b.user(n).get("/access")
			time.Sleep(10 * time.Millisecond) // the line comes after the answer
			return b.logs[n.Name].has(before, `"component":"access"`, `"path":"/access"`)
		}},
		{key: "door.body_idle_timeout", value: "1s", own: true, felt: func(b *bench, n *Node) bool {
			s := b.own[n.Name].get("/stall?ms=4000")
			return s.status == http.StatusOK && s.err != nil
		}},
		{key: "door.client_key_header", value: "X-Device", felt: func(b *bench, n *Node) bool {
			device := b.name("device")
			here := b.user(n).get("/", "X-Device", device)
			there := b.user(b.next(n)).get("/", "X-Device", device)
			return here.session() != "" && here.session() == there.session()
		}},
		{key: "door.document_patterns", value: "?app={document}", felt: func(b *bench, n *Node) bool {
			app := b.name("app")
			b.user(n).get("/?app=" + app)
			return len(b.sessions(n, admin.SessionFilter{Document: app})) == 1
		}},
		{key: "door.head_timeout", value: "1s", own: true, felt: func(b *bench, n *Node) bool {
			// Deadlines may be a second late: they are set coarsely.
			return b.own[n.Name].get("/slow?ms=2500").status == http.StatusGatewayTimeout
		}},
		{key: "door.max_body_bytes", value: "10", felt: func(b *bench, n *Node) bool {
			short := b.user(n).ask(http.MethodPost, "/upload", "ten bytes.")
			long := b.user(n).ask(http.MethodPost, "/upload", "eleven byte")
			return short.status == http.StatusOK && long.status == http.StatusRequestEntityTooLarge
		}},
		{key: "door.show_node", value: "true", felt: func(b *bench, n *Node) bool {
			s := b.user(n).get("/")
			return s.header.Get("X-Usher-Node") == s.Node && s.Node != ""
		}},
		{key: "door.shutdown_delay", value: "3s", alone: true, felt: (*bench).stopsLate},
		{key: "door.trusted_networks", value: "10.9.9.0/24", felt: func(b *bench, n *Node) bool {
			s := b.user(n).get("/", "X-Forwarded-For", "203.0.113.7")
			return s.echo.Header.Get("X-Real-Ip") == "203.0.113.7"
		}},
		{key: "door.hsts", value: "24h", with: map[string]string{"door.trusted_networks": "10.9.9.0/24"}, felt: func(b *bench, n *Node) bool {
			return b.user(n).get("/", "X-Forwarded-Proto", "https").header.Get("Strict-Transport-Security") == "max-age=86400"
		}},
		{key: "door.max_connections", value: "1", felt: func(b *bench, n *Node) bool { return b.turnedAway(n, http.StatusServiceUnavailable) }},
		{key: "door.max_connections_per_address", value: "1", felt: func(b *bench, n *Node) bool { return b.turnedAway(n, http.StatusTooManyRequests) }},
		{key: "door.websocket_idle", value: "2s", felt: func(b *bench, n *Node) bool {
			ws, _ := b.user(n).dial()
			if ws == nil {
				return false
			}
			closed := ws.CloseRead(b.T.Context())
			defer func() { _ = ws.CloseNow() }()
			time.Sleep(3 * time.Second)
			return closed.Err() != nil
		}},
		{key: "door.websocket_ping", value: "1s", felt: func(b *bench, n *Node) bool {
			ws, pings := b.user(n).dial()
			if ws == nil {
				return false
			}
			ws.CloseRead(b.T.Context())
			defer func() { _ = ws.CloseNow() }()
			time.Sleep(3500 * time.Millisecond)
			return pings.Load() >= 2
		}},
	}
}

// turnedAway reports whether one who comes while another one is there gets that status.
func (b *bench) turnedAway(n *Node, status int) bool {
	ws, _ := b.user(n).dial()
	if ws == nil {
		return false
	}
	ws.CloseRead(b.T.Context())
	defer func() {
		_ = ws.CloseNow()
		time.Sleep(time.Second) // it is counted out
	}()
	return b.user(n).get("/").status == status
}

// sessionChanges are the settings of sessions and their cookies.
func sessionChanges() []change {
	return []change{
		{key: "session.idle_timeout", value: "1s", own: true, felt: func(b *bench, n *Node) bool {
			time.Sleep(2500 * time.Millisecond)
			return !slices.ContainsFunc(b.sessions(n, admin.SessionFilter{Node: n.Name}), func(s admin.Session) bool {
				return strings.HasPrefix(s.ID, b.own[n.Name].session)
			})
		}},
		{key: "session.max_life", value: "1s", felt: func(b *bench, n *Node) bool {
			u := b.user(n)
			first := u.get("/").session()
			for range 5 {
				time.Sleep(500 * time.Millisecond)
				if u.get("/").session() != first {
					return true
				}
			}
			return false
		}},
		{key: "session.same_site", value: "strict", felt: func(b *bench, n *Node) bool {
			s := b.user(n).get("/")
			return len(s.cookies) == 1 && s.cookies[0].SameSite == http.SameSiteStrictMode
		}},
		{key: "session.scope", value: "document", felt: func(b *bench, n *Node) bool {
			for _, c := range b.user(n).get("/doc/sales").cookies {
				if len(c.Name) == len("usher-12345678") && strings.HasPrefix(c.Name, "usher-") {
					return true
				}
			}
			return false
		}},
	}
}

// stopsLate stops and starts the node. It reports whether the status page told
// balancers for three seconds before the door closed.
func (b *bench) stopsLate(n *Node) bool {
	u := b.user(n)
	began, told := time.Now(), time.Duration(0)
	n.cancel()
	for {
		if u.get("/usher/status").status == http.StatusServiceUnavailable {
			told = time.Since(began)
		}
		select {
		case err := <-n.done:
			took := time.Since(began)
			if n.Agent = nil; err != nil {
				b.T.Errorf("%s stopped with an error: %v", n.Name, err)
			}
			n.Start()
			n.WaitReady()
			return took >= 3*time.Second && told >= 2900*time.Millisecond
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// clusterChanges are the settings of engines, placement, scheduler and log.
func clusterChanges() []change {
	return []change{
		{key: "engine.fail_after", value: "1s", alone: true, own: true, with: map[string]string{"engine.health_interval": "200ms"},
			felt: func(b *bench, n *Node) bool {
				u := b.own[n.Name]
				b.labs[n.Name].down()
				defer b.settle()
				defer b.labs[n.Name].up()
				u.get("/") // finds the engine dead
				time.Sleep(2 * time.Second)
				s := u.get("/")
				return s.status == http.StatusOK && s.Node != n.Name
			}},
		{key: "engine.health_failures", value: "1", with: map[string]string{"engine.health_interval": "200ms"},
			felt: func(b *bench, n *Node) bool {
				before := b.engine(n).Since
				b.labs[n.Name].bad.Store(1)
				time.Sleep(time.Second)
				return b.engine(n).Since.After(before) // unhealthy and back
			}},
		{key: "engine.health_interval", value: "200ms", felt: func(b *bench, n *Node) bool {
			before := b.labs[n.Name].probes.Load()
			time.Sleep(2 * time.Second)
			return b.labs[n.Name].probes.Load()-before >= 8
		}},
		{key: "engine.health_passes", value: "5",
			with: map[string]string{"engine.health_interval": "200ms", "engine.health_failures": "1"},
			felt: func(b *bench, n *Node) bool {
				b.labs[n.Name].bad.Store(1)
				time.Sleep(2 * time.Second)
				return b.engine(n).Since.Sub(time.Unix(0, b.labs[n.Name].badAt.Load())) > 600*time.Millisecond
			}},
		{key: "engine.health_timeout", value: "200ms", with: map[string]string{"engine.health_interval": "100ms"},
			felt: func(b *bench, n *Node) bool {
				b.labs[n.Name].probeTime.Store(int64(500 * time.Millisecond))
				defer b.labs[n.Name].probeTime.Store(0)
				time.Sleep(2 * time.Second)
				return b.engine(n).Health == peer.Unhealthy
			}},
		{key: "engine.max_sessions", value: "1", alone: true, felt: (*bench).fills},
		{key: "log.level", value: "debug", felt: func(b *bench, n *Node) bool {
			before := b.logs[n.Name].len()
			b.user(n).get("/cut")
			time.Sleep(10 * time.Millisecond) // the line comes after the answer
			return b.logs[n.Name].has(before, `"level":"debug"`, `"component":"door"`)
		}},
		{key: "node.fail_after", value: "10s", alone: true, own: true, felt: (*bench).waitsForNodes},
		{key: "placement.ask_timeout", value: "2s", felt: (*bench).waitsForAnswers,
			begin: func(b *bench) { b.Net.SetDelay(oneWay) }, end: func(b *bench) { b.Net.SetDelay(0) }},
		{key: "placement.strategy", value: "round-robin", begin: (*bench).crowdFirst,
			felt: func(b *bench, n *Node) bool {
				for range 3 {
					if b.user(n).get("/").Node == b.nodes[0].Name {
						return true
					}
				}
				return false
			}},
		{key: "raft.snapshot_rate", value: "1MiB", felt: func(b *bench, n *Node) bool {
			return b.metric(n, "usher_raft_snapshot_limit_bytes") == 1<<20
		}},
		{key: "snapshot.interval", value: "1m", felt: func(b *bench, n *Node) bool {
			files := n.saved(b.T)
			time.Sleep(3 * time.Minute)
			return len(n.saved(b.T)) > len(files)
		}},
		{key: "snapshot.keep", value: "2", with: map[string]string{"snapshot.interval": "1m"}, felt: func(b *bench, n *Node) bool {
			time.Sleep(5 * time.Minute)
			return len(n.saved(b.T)) == 2
		}},
		{key: "scheduler.history", value: "2", felt: (*bench).forgetsRuns},
		{key: "scheduler.parallel", value: "1", begin: (*bench).tagNodes, felt: (*bench).runsOneByOne,
			end: func(b *bench) {
				for _, l := range b.labs {
					l.reloadTime.Store(0)
				}
			}},
	}
}

// fills opens six sessions and reports whether they filled the engines.
func (b *bench) fills(n *Node) bool {
	refused := false
	for range 6 {
		refused = b.user(n).get("/").status == http.StatusServiceUnavailable || refused
		time.Sleep(100 * time.Millisecond) // places kept at the engines that were not chosen are given back
	}
	on := map[peer.EngineID]int{}
	for _, s := range b.sessions(n, admin.SessionFilter{}) {
		on[s.Engine]++
	}
	for _, sessions := range on {
		refused = refused && sessions == 1
	}
	b.closeSessions()
	time.Sleep(1500 * time.Millisecond) // a door does not ask an engine whose last report says full
	return refused && len(on) == len(b.nodes)
}

// waitsForNodes cuts a node off for two seconds and reports whether a session of it is
// still there afterwards, for a user who asked meanwhile.
func (b *bench) waitsForNodes(n *Node) bool {
	defer b.settle()
	owner := b.next(n)
	u := b.own[owner.Name].through(n)
	b.Net.Isolate(owner.Host)
	heal := time.AfterFunc(2*time.Second, func() { b.Net.HealHost(owner.Host) })
	defer heal.Stop()
	stayed := u.get("/").Node == owner.Name
	time.Sleep(3 * time.Second)
	return stayed
}

// oneWay is a delay at which answers to a door's questions take longer than it
// waits for them by default.
const oneWay = 80 * time.Millisecond

// waitsForAnswers reports whether opening a session takes as long as an engine
// elsewhere needs to answer. The shortest of several counts, because the first
// ones wait for connections, too.
func (b *bench) waitsForAnswers(n *Node) bool {
	shortest := time.Hour
	for range 6 {
		began := time.Now()
		s := b.user(n).get("/")
		took := time.Since(began) - 4*oneWay // the user's connection and request
		if s.Node != n.Name {
			took -= 2 * oneWay
		}
		shortest = min(shortest, took)
	}
	return shortest >= 2*oneWay
}

// crowdFirst gives the first node's engine twenty sessions.
func (b *bench) crowdFirst() {
	for _, n := range b.nodes[1:] {
		b.drain(n, true)
	}
	time.Sleep(200 * time.Millisecond)
	for i := range 20 {
		if s := b.user(b.nodes[i%len(b.nodes)]).get("/"); s.Node != b.nodes[0].Name {
			b.T.Fatalf("while the others drain, a session opens on %q, status %d", s.Node, s.status)
		}
	}
	for _, n := range b.nodes[1:] {
		b.drain(n, false)
	}
	time.Sleep(2 * time.Second) // load reports
}

// task puts one that is run by hand only.
func (b *bench) task(n *Node, tag string) string {
	name := b.name("task")
	spec := admin.TaskSpec{Document: name, Tag: tag, Every: admin.Duration(24 * time.Hour), Start: time.Now().Add(24 * time.Hour)}
	if _, err := b.apis[n.Name].PutTask(b.T.Context(), name, spec); err != nil {
		b.T.Errorf("put a task on %s: %v", n.Name, err)
	}
	return name
}

func (b *bench) run(n *Node, task string) {
	if _, err := b.apis[n.Name].RunTask(b.T.Context(), task); err != nil {
		b.T.Errorf("run a task on %s: %v", n.Name, err)
	}
}

// forgetsRuns runs a task four times and reports whether the node remembers two.
func (b *bench) forgetsRuns(n *Node) bool {
	task := b.task(n, "")
	for range 4 {
		b.run(n, task)
		b.within(5*time.Second, "end of the run", func() bool {
			out, err := b.apis[n.Name].Occurrences(b.T.Context(), admin.OccurrenceFilter{Task: task, State: "open"})
			return err == nil && len(out.Items) == 0
		})
	}
	out, err := b.apis[n.Name].TaskOccurrences(b.T.Context(), task, admin.Stale())
	if err != nil {
		b.T.Errorf("history on %s: %v", n.Name, err)
	}
	if got := len(out.Items); got != 2 && got != 4 {
		b.T.Errorf("%s remembers %d of 4 runs", n.Name, got)
	}
	return len(out.Items) == 2
}

// tagNodes gives each node its own name as a tag, and work that takes a while.
func (b *bench) tagNodes() {
	for _, n := range b.nodes {
		tags := []string{n.Name}
		if _, err := b.apis[n.Name].UpdateNode(b.T.Context(), n.Name, admin.NodeUpdate{Tags: &tags}); err != nil {
			b.T.Fatal(err)
		}
		b.labs[n.Name].reloadTime.Store(int64(500 * time.Millisecond))
	}
}

// runsOneByOne has three tasks run on the node and reports whether never two did.
func (b *bench) runsOneByOne(n *Node) bool {
	l := b.labs[n.Name]
	l.mostReloads()
	done := l.reloads.Load() + 3
	tasks := []string{b.task(n, n.Name), b.task(n, n.Name), b.task(n, n.Name)}
	for _, task := range tasks {
		b.run(n, task)
	}
	b.within(10*time.Second, "end of three runs", func() bool { return l.reloads.Load() >= done })
	return l.mostReloads() == 1
}

package scheduler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// epoch is when the tasks of these tests were made; other times are seconds after it.
var epoch = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func at(seconds int) fsm.Stamp {
	return fsm.StampOf(epoch.Add(time.Duration(seconds) * time.Second))
}

// scene is an input under construction.
type scene struct {
	in input
}

// sceneAt is a cluster of nodes a and b, healthy and active, some seconds in.
func sceneAt(seconds int) *scene {
	s := &scene{in: input{
		Now: at(seconds).Time(), Parallel: 2, Budget: maxRound,
		Due:      func(t *fsm.Task, after time.Time) (time.Time, error) { return Due(*t, after) },
		Recorded: func(fsm.OccurrenceID) bool { return false },
	}}
	return s.node("a", peer.StatusAlive).node("b", peer.StatusAlive)
}

func (s *scene) node(id peer.ID, status peer.Status) *scene {
	s.in.Nodes = append(s.in.Nodes, &fsm.Node{ID: id, Name: string(id), Class: peer.ClassServer, State: peer.StateActive})
	s.in.Peers = append(s.in.Peers, peer.Peer{ID: id, Status: status, Load: peer.Load{
		Engines: []peer.EngineLoad{{Name: "builtin", Health: peer.Healthy}},
	}})
	return s
}

// task adds one that is due every 10 s and catches up for 60 s; its records reach
// up to the cursor.
func (s *scene) task(name string, cursor int, change ...func(*fsm.Task)) *scene {
	t := &fsm.Task{Name: name, Every: 10 * time.Second, Start: at(0), Cursor: at(cursor), Attempts: 3, CatchUp: time.Minute, Timeout: time.Minute}
	for _, f := range change {
		f(t)
	}
	s.in.Tasks = append(s.in.Tasks, t)
	return s
}

// open adds an occurrence that is not terminal, claimed and renewed when due.
func (s *scene) open(task string, due int, state fsm.OccurrenceState, change ...func(*fsm.Occurrence)) *scene {
	o := &fsm.Occurrence{Task: task, Due: at(due), State: state, Attempt: 1, Fence: 40, Node: "a", Claimed: at(due), Renewed: at(due)}
	for _, f := range change {
		f(o)
	}
	s.in.Open = append(s.in.Open, o)
	return s
}

func (s *scene) with(f func(*input)) *scene {
	f(&s.in)
	return s
}

// render writes a decision down in lines.
func render(d decision) []string {
	var out []string
	sec := func(s fsm.Stamp) int64 { return int64(s.Time().Sub(epoch) / time.Second) }
	for _, b := range d.Batches {
		for _, c := range b.Commands {
			switch c := c.(type) {
			case *fsm.ClaimOccurrence:
				out = append(out, fmt.Sprintf("claim %s@%d attempt %d on %s/%s", c.Task, sec(c.Due), c.Attempt, c.Node, c.Engine))
			case *fsm.SkipOccurrence:
				out = append(out, fmt.Sprintf("%s %s@%d: %s", c.State, c.Task, sec(c.Due), c.Reason))
			case *fsm.LoseOccurrence:
				out = append(out, fmt.Sprintf("lose %s@%d fence %d: %s", c.Task, sec(c.Due), c.Fence, c.Reason))
			}
		}
	}
	for _, b := range d.Broken {
		out = append(out, fmt.Sprintf("broken %s", b.Task.Name))
	}
	if d.Resume != "" {
		out = append(out, "resume at "+d.Resume)
	}
	if !d.Next.IsZero() {
		out = append(out, fmt.Sprintf("look at %s", d.Next.Sub(epoch)))
	}
	return out
}

type planCase struct {
	name  string
	scene *scene
	want  []string
}

func runPlans(t *testing.T, cases []planCase) {
	t.Helper()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, render(plan(tc.scene.in))); d != "" {
				t.Errorf("decision (-want +got):\n%s", d)
			}
		})
	}
}

func drained(i int) func(*input) { return func(in *input) { in.Nodes[i].State = peer.StateDraining } }
func nobody(in *input)           { drained(0)(in); drained(1)(in) }

const drainedWhy = "no node can run the task (a: is draining)"

func TestPlanDue(t *testing.T) {
	runPlans(t, []planCase{
		{"not due", sceneAt(9).task("t", 0), []string{"look at 10s"}},
		{"due", sceneAt(10).task("t", 0), []string{"claim t@10 attempt 1 on a/builtin"}},
		{"paused", sceneAt(10).task("t", 0, func(t *fsm.Task) { t.Paused = true }), nil},
		{"done", sceneAt(10).task("t", 10), []string{"look at 20s"}},
		{"future start", sceneAt(10).task("t", 0, func(t *fsm.Task) { t.Start = at(15) }), []string{"look at 15s"}},
		{"no tasks", sceneAt(10), nil},
		{"several tasks share the nodes", sceneAt(10).task("t", 0).task("u", 0).task("v", 0), []string{
			"claim t@10 attempt 1 on a/builtin", "claim u@10 attempt 1 on b/builtin", "claim v@10 attempt 1 on a/builtin",
		}},
		{"command on its way", sceneAt(10).task("t", 0).with(func(in *input) { in.Busy = map[string]bool{"t": true} }), nil},
		{"claims on their way count", sceneAt(10).task("t", 0).with(func(in *input) { in.Claiming = map[peer.ID]int{"a": 1} }), []string{
			"claim t@10 attempt 1 on b/builtin",
		}},
		{"broken", sceneAt(10).task("t", 0, func(t *fsm.Task) { t.Every, t.Cron = 0, "x" }).task("u", 0), []string{
			"claim u@10 attempt 1 on a/builtin", "broken t",
		}},
		{"never again", sceneAt(10).task("t", 0, func(t *fsm.Task) { t.Every, t.Cron = 0, "0 0 30 2 *" }), nil},
		{"recorded by hand", sceneAt(12).task("t", 0).with(func(in *input) {
			in.Recorded = func(id fsm.OccurrenceID) bool { return id.Due == at(10) }
		}), []string{"look at 20s"}},
	})
}

func TestPlanMissed(t *testing.T) {
	latest := "run-latest: 2026-03-01T00:00:%d0Z was due as well when it could be run"
	runPlans(t, []planCase{
		{"run the latest", sceneAt(35).task("t", 0), []string{
			"missed t@10: " + fmt.Sprintf(latest, 2), "missed t@20: " + fmt.Sprintf(latest, 3), "claim t@30 attempt 1 on a/builtin",
		}},
		{"too late", sceneAt(85).task("t", 0, func(t *fsm.Task) { t.Every = 80 * time.Second; t.CatchUp = 5 * time.Second }), []string{
			"missed t@80: late: it could be run only 5s after its time, the task catches up to 5s", "look at 2m40s",
		}},
		{"in time", sceneAt(84).task("t", 0, func(t *fsm.Task) { t.Every = 80 * time.Second; t.CatchUp = 5 * time.Second }), []string{
			"claim t@80 attempt 1 on a/builtin",
		}},
		{"no node, wait", sceneAt(15).task("t", 0).with(nobody), []string{"look at 20s"}},
		{"no node, last chance first", sceneAt(85).task("t", 0, func(t *fsm.Task) { t.Every = 80 * time.Second; t.CatchUp = 6 * time.Second }).with(nobody), []string{
			"look at 1m26s",
		}},
		{"no node, the next one is due", sceneAt(20).task("t", 0).with(nobody), []string{
			"missed t@10: run-latest: " + drainedWhy + " until 2026-03-01T00:00:20Z was due", "look at 30s",
		}},
		{"no node for too long", sceneAt(86).task("t", 0, func(t *fsm.Task) { t.Every = 80 * time.Second; t.CatchUp = 6 * time.Second }).with(nobody), []string{
			"missed t@80: " + drainedWhy + " for 6s", "look at 2m40s",
		}},
		{"all nodes busy", sceneAt(15).task("t", 0).task("u", 10).task("v", 10).
			open("u", 10, fsm.OccurrenceStarted).open("v", 10, fsm.OccurrenceStarted, func(o *fsm.Occurrence) { o.Node = "b" }).
			with(func(in *input) { in.Parallel = 1 }), []string{"look at 20s"}},
		{"busy is a reason", sceneAt(75).task("t", 0, func(t *fsm.Task) { t.Every = 70 * time.Second; t.CatchUp = 5 * time.Second }).
			open("u", 70, fsm.OccurrenceStarted).open("v", 70, fsm.OccurrenceStarted, func(o *fsm.Occurrence) { o.Node = "b" }).
			with(func(in *input) { in.Parallel = 1 }), []string{
			"missed t@70: no node can run the task (each that may run it has 1 runs already, see scheduler.parallel) for 5s", "look at 1m55s",
		}},
	})
}

func TestPlanOpen(t *testing.T) {
	onB := func(o *fsm.Occurrence) { o.Node = "b" }
	retry := func(at0 int) func(*fsm.Occurrence) {
		return func(o *fsm.Occurrence) {
			o.Retry, o.History = at(at0), []fsm.Attempt{{Number: 1, Node: "a"}}
		}
	}
	manual := func(o *fsm.Occurrence) { o.Manual, o.Attempt, o.Node = true, 0, "" }
	ran := func(o *fsm.Occurrence) { o.Manual = true }
	runPlans(t, []planCase{
		{"running", sceneAt(19).task("t", 10).open("t", 10, fsm.OccurrenceStarted), []string{"look at 20s"}},
		{"overlap", sceneAt(35).task("t", 10).open("t", 10, fsm.OccurrenceStarted), []string{
			"skipped t@20: overlap: the occurrence due 2026-03-01T00:00:10Z was still started",
			"skipped t@30: overlap: the occurrence due 2026-03-01T00:00:10Z was still started", "look at 40s",
		}},
		{"overlap with a retry", sceneAt(20).task("t", 10).open("t", 10, fsm.OccurrencePending, retry(25)), []string{
			"skipped t@20: overlap: the occurrence due 2026-03-01T00:00:10Z was still pending", "look at 25s",
		}},
		{"retry elsewhere", sceneAt(15).task("t", 10).open("t", 10, fsm.OccurrencePending, retry(12)), []string{"claim t@10 attempt 2 on b/builtin"}},
		{"retry on the same node if need be", sceneAt(15).task("t", 10).open("t", 10, fsm.OccurrencePending, retry(12)).with(drained(1)), []string{
			"claim t@10 attempt 2 on a/builtin",
		}},
		{"retry of a paused task", sceneAt(15).task("t", 10, func(t *fsm.Task) { t.Paused = true }).open("t", 10, fsm.OccurrencePending, retry(12)), []string{
			"claim t@10 attempt 2 on b/builtin",
		}},
		{"retry finds no node in time", sceneAt(85).task("t", 80).open("t", 10, fsm.OccurrencePending, retry(25)).with(nobody), []string{
			"missed t@10: attempt 2: " + drainedWhy + " for 1m0s", "look at 1m30s",
		}},
		{"by hand", sceneAt(15).task("t", 10).open("t", 12, fsm.OccurrencePending, manual), []string{"claim t@12 attempt 1 on a/builtin"}},
		{"by hand waits behind a run", sceneAt(115).task("t", 110).open("t", 12, fsm.OccurrencePending, manual).open("t", 110, fsm.OccurrenceStarted), []string{"look at 2m0s"}},
		{"by hand after a long wait", sceneAt(115).task("t", 110).open("t", 12, fsm.OccurrencePending, manual), []string{"claim t@12 attempt 1 on a/builtin"}},
		{"by hand and no node", sceneAt(115).task("t", 110).open("t", 12, fsm.OccurrencePending, manual).with(nobody), []string{
			"missed t@12: attempt 1: " + drainedWhy + " for 1m0s", "look at 2m0s",
		}},
		{"overlap with a run by hand", sceneAt(20).task("t", 10).open("t", 12, fsm.OccurrenceStarted, ran), []string{"look at 30s"}},
		{"overlap with a run by hand for too long", sceneAt(80).task("t", 10, func(t *fsm.Task) { t.CatchUp = 5 * time.Second }).open("t", 75, fsm.OccurrenceStarted, ran), []string{
			"missed t@20: the run asked for at 2026-03-01T00:01:15Z is still started for 5s",
			"missed t@30: the run asked for at 2026-03-01T00:01:15Z is still started for 5s",
			"missed t@40: the run asked for at 2026-03-01T00:01:15Z is still started for 5s",
			"missed t@50: the run asked for at 2026-03-01T00:01:15Z is still started for 5s",
			"missed t@60: the run asked for at 2026-03-01T00:01:15Z is still started for 5s",
			"missed t@70: the run asked for at 2026-03-01T00:01:15Z is still started for 5s", "look at 1m25s",
		}},
		{"lease holds", sceneAt(54).open("t", 10, fsm.OccurrenceStarted), []string{"look at 55s"}},
		{"lease is over", sceneAt(55).task("t", 50).open("t", 10, fsm.OccurrenceStarted), []string{"lose t@10 fence 40: node a did not renew its lease for 45s"}},
		{"lease of a removed task", sceneAt(55).open("t", 10, fsm.OccurrenceStarted), []string{"lose t@10 fence 40: node a did not renew its lease for 45s"}},
		{"claim holds", sceneAt(24).open("t", 10, fsm.OccurrenceClaimed), []string{"look at 25s"}},
		{"claim is over", sceneAt(25).open("t", 10, fsm.OccurrenceClaimed), []string{"lose t@10 fence 40: node a did not start it within 15s"}},
		{"claim on a failed node", sceneAt(11).with(func(in *input) { in.Peers[0].Status = peer.StatusFailed }).open("t", 10, fsm.OccurrenceClaimed), []string{
			"lose t@10 fence 40: node a failed before it started",
		}},
		{"claim on a removed node", sceneAt(11).open("t", 10, fsm.OccurrenceClaimed, func(o *fsm.Occurrence) { o.Node = "z" }), []string{
			"lose t@10 fence 40: node z was removed before it started",
		}},
		{"claim on a node that gossip does not know yet", sceneAt(11).with(func(in *input) { in.Peers = nil }).open("t", 10, fsm.OccurrenceClaimed), []string{"look at 25s"}},
		{"attempt on a failed node", sceneAt(11).with(func(in *input) { in.Peers[0].Status = peer.StatusFailed }).open("t", 10, fsm.OccurrenceStarted, onB), []string{"look at 55s"}},
	})
}

// A list of missed times that does not end shares the rounds with other tasks.
func TestPlanBounds(t *testing.T) {
	s := sceneAt(100_000)
	for i := range 8 {
		s.task(fmt.Sprintf("t%d", i), 0, func(t *fsm.Task) { t.Every = time.Second })
	}
	served := map[string]int{}
	for range 8 {
		d := plan(s.in)
		n := 0
		for _, b := range d.Batches {
			n += len(b.Commands)
			served[b.Task] += len(b.Commands)
			if len(b.Commands) > maxTaskRound {
				t.Errorf("%d commands for one task", len(b.Commands))
			}
		}
		if n != maxRound {
			t.Errorf("%d commands in a round, want %d", n, maxRound)
		}
		s.in.Resume = d.Resume
	}
	for name, n := range served {
		if n != maxRound {
			t.Errorf("task %s got %d commands in eight rounds, want %d", name, n, maxRound)
		}
	}
	s.in.Budget = 0
	if d := plan(s.in); len(d.Batches) != 0 || d.Resume == "" {
		t.Errorf("without a budget: %d batches", len(d.Batches))
	}
}

func TestPlanChangesNothing(t *testing.T) {
	s := sceneAt(35).task("t", 0).task("u", 0).open("u", 10, fsm.OccurrencePending)
	before := fmt.Sprintf("%+v %+v", *s.in.Tasks[0], *s.in.Open[0])
	first := strings.Join(render(plan(s.in)), "\n")
	if d := cmp.Diff(first, strings.Join(render(plan(s.in)), "\n")); d != "" {
		t.Errorf("two plans of one input differ:\n%s", d)
	}
	if after := fmt.Sprintf("%+v %+v", *s.in.Tasks[0], *s.in.Open[0]); before != after {
		t.Errorf("a plan changed its input: %s, before %s", after, before)
	}
}

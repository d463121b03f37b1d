package load

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/scripts/lab/history"
)

// nodeHeader names the node whose engine answered.
const nodeHeader = "X-Usher-Node"

// TaskName is the name of the i-th task.
func TaskName(i int) string { return "lab-" + strconv.Itoa(i+1) }

func (l *Load) makeTasks(ctx context.Context) error {
	for i := range l.cfg.Tasks {
		err := l.anywhere(ctx, "make task "+TaskName(i), func(ctx context.Context, c *admin.Client) error {
			_, err := c.PutTask(ctx, TaskName(i), admin.TaskSpec{
				Document: l.cfg.Document, Every: admin.Duration(l.pace.Every), Attempts: 3,
				Timeout: admin.Duration(time.Minute), CatchUp: admin.Duration(l.catchUp(i)),
			})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// catchUp is after how long the i-th task's due times are missed: those of the last one in an
// outage, so that what was missed has to be on record, too.
func (l *Load) catchUp(i int) time.Duration {
	if i > 0 && i == l.cfg.Tasks-1 {
		return max(2*l.pace.Every, time.Second)
	}
	return 10 * time.Minute
}

// startTasks has somebody who asks for runs of each task, and somebody who looks at each
// engine's counters.
func (l *Load) startTasks() {
	if l.cfg.Tasks == 0 {
		return
	}
	for i := range l.cfg.Tasks {
		a := l.newAsker(1000 + i)
		l.wg.Go(func() {
			defer a.close()
			a.keepRunning(TaskName(i))
		})
	}
	for _, n := range l.cfg.Nodes {
		l.counts.watch(l, n)
	}
}

func (a *asker) keepRunning(task string) {
	for pause := a.l.pace.Setting; a.l.sleep(a.rng, pause); pause = a.l.pace.Run {
		op := history.Op{Kind: history.Task, Key: task}
		got := a.ask(&op, a.route.next(a.l.cfg.Rec.Now()), http.MethodPost, "/v1/tasks/"+task+"/run", "")
		var o admin.Occurrence
		if op.Outcome == history.OK {
			if err := json.Unmarshal(got.body, &o); err != nil || o.Task != task {
				op.Outcome, op.Detail = history.Unknown, "the answer is no occurrence of "+task
			}
			op.Value = o.ID
		}
		a.l.record(op)
		if !a.again(op.Outcome == history.OK) {
			return
		}
	}
}

// Schedules are the tasks with a schedule, for history.Input.
func (l *Load) Schedules() []history.Schedule {
	var out []history.Schedule
	for i := range l.cfg.Tasks {
		out = append(out, history.Schedule{Task: TaskName(i), Every: l.pace.Every})
	}
	return out
}

// finishTasks pauses the tasks and waits until none of their occurrences is open.
func (l *Load) finishTasks(ctx context.Context) error {
	if l.cfg.Tasks == 0 {
		return nil
	}
	for i := range l.cfg.Tasks {
		if err := l.anywhere(ctx, "pause task "+TaskName(i), func(ctx context.Context, c *admin.Client) error {
			_, err := c.PauseTask(ctx, TaskName(i), "the load ends")
			return err
		}); err != nil {
			return err
		}
	}
	return l.anywhere(ctx, "wait for the end of all occurrences", func(ctx context.Context, c *admin.Client) error {
		list, err := c.Occurrences(ctx, admin.OccurrenceFilter{State: "open"})
		if err == nil && len(list.Items) > 0 {
			return fmt.Errorf("%d are open, the first is %s, %s", len(list.Items), list.Items[0].ID, list.Items[0].State)
		}
		return err
	})
}

// listOccurrences reads all of them, with the nodes' names.
func listOccurrences(ctx context.Context, c *admin.Client) ([]history.Occurrence, error) {
	nodes, err := c.Nodes(ctx, admin.Page(1000, ""))
	if err != nil {
		return nil, err
	}
	name := map[peer.ID]string{}
	for _, n := range nodes.Items {
		name[n.ID] = n.Name
	}
	var out []history.Occurrence
	for cursor := ""; ; {
		page, err := c.Occurrences(ctx, admin.OccurrenceFilter{}, admin.Page(1000, cursor))
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			out = append(out, occurrenceOf(&page.Items[i], name))
		}
		if cursor = page.Next; cursor == "" {
			return out, nil
		}
	}
}

func occurrenceOf(o *admin.Occurrence, name map[peer.ID]string) history.Occurrence {
	out := history.Occurrence{ID: o.ID, Task: o.Task, Due: o.Due, Manual: o.Manual, State: o.State}
	for _, a := range o.History {
		out.Attempts = append(out.Attempts, history.AttemptState{Number: a.Number, Node: name[a.Node], Started: !a.Started.IsZero(), State: a.State})
	}
	if o.Attempt > 0 && (len(out.Attempts) == 0 || out.Attempts[len(out.Attempts)-1].Number != o.Attempt) {
		last := history.AttemptState{Number: o.Attempt, Started: !o.Started.IsZero(), State: o.State}
		if o.Node != nil {
			last.Node = o.Node.Name
		}
		out.Attempts = append(out.Attempts, last)
	}
	return out
}

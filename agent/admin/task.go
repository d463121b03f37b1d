package admin

import (
	"time"

	"github.com/ushercluster/usher/fsm"
)

// What a task gets that is not said.
const (
	defaultAttempts = 3
	defaultTimeout  = time.Hour
	defaultCatchUp  = time.Hour

	nextInList = 1
	nextInShow = 5
)

func listTasks(c *call) (List[Task], error) {
	w, err := c.window()
	if err != nil {
		return List[Task]{}, err
	}
	v, err := c.read()
	if err != nil {
		return List[Task]{}, err
	}
	return listOf(w, v.Tasks(), func(t *fsm.Task) string { return t.Name }, func(t *fsm.Task) Task { return c.taskOf(v, t, nextInList) }), nil
}

func showTask(c *call) (Task, error) {
	v, err := c.read()
	if err != nil {
		return Task{}, err
	}
	return c.taskIn(v)
}

// taskIn is the task that the path names.
func (c *call) taskIn(v fsm.View) (Task, error) {
	name := c.r.PathValue("name")
	row := v.Task(name)
	if row == nil {
		return Task{}, notFound("there is no task %q", clip(name, 64))
	}
	return c.taskOf(v, row, nextInShow), nil
}

func putTask(c *call, in TaskSpec) (Task, error) {
	row := in.row(c.r.PathValue("name"))
	if err := c.s.cfg.ValidateTask(row); err != nil {
		return Task{}, invalid(err.Error(), "")
	}
	return c.changeTask(&fsm.PutTask{Task: row, If: c.cond.match})
}

func (t TaskSpec) row(name string) fsm.Task {
	row := fsm.Task{
		Name: name, Document: t.Document, Engine: t.Engine, Tag: t.Tag, Cron: t.Cron, Every: t.Every.D(), Zone: t.Zone,
		Start: fsm.StampOf(t.Start), Attempts: t.Attempts, Timeout: t.Timeout.D(), CatchUp: t.CatchUp.D(),
	}
	if row.Attempts == 0 {
		row.Attempts = defaultAttempts
	}
	if row.Timeout == 0 {
		row.Timeout = defaultTimeout
	}
	if row.CatchUp == 0 {
		row.CatchUp = defaultCatchUp
	}
	return row
}

func (c *call) changeTask(cmd fsm.Command) (Task, error) {
	if _, err := c.propose(cmd); err != nil {
		return Task{}, err
	}
	return c.taskIn(c.view)
}

func removeTask(c *call, _ Nothing) (Nothing, error) {
	_, err := c.propose(&fsm.RemoveTask{Name: c.r.PathValue("name"), If: c.cond.match})
	return Nothing{}, err
}

func pauseTask(c *call, in Pause) (Task, error) {
	return c.changeTask(&fsm.PauseTask{Name: c.r.PathValue("name"), Paused: true, Reason: in.Reason, If: c.cond.match})
}

func resumeTask(c *call, _ Nothing) (Task, error) {
	return c.changeTask(&fsm.PauseTask{Name: c.r.PathValue("name"), If: c.cond.match})
}

// runTask finds the occurrence that its command made by the command's revision.
func runTask(c *call, _ Nothing) (Occurrence, error) {
	name := c.r.PathValue("name")
	res, err := c.propose(&fsm.RequestRun{Task: name})
	if err != nil {
		return Occurrence{}, err
	}
	for _, o := range c.view.Occurrences(name) {
		if o.Manual && o.Meta.Created == res.Revision {
			return occurrenceOf(c.view, o), nil
		}
	}
	return Occurrence{}, notFound("the run asked for at revision %d has left the history of task %s", res.Revision, clip(name, 64))
}

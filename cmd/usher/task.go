package main

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/admin"
)

func (p *program) taskCommand() *cli.Command {
	return &cli.Command{
		Name: "task", Usage: "schedule reloads of documents",
		Subcommands: []*cli.Command{
			{
				Name: "add", Usage: "make a task", ArgsUsage: "NAME", Flags: taskFlags(),
				Description: "Give either --every or --cron, for example:\n  usher task add nightly --document sales --cron '30 2 * * 1-5' --zone Europe/Berlin",
				Action:      p.action(exactly(1), (*call).taskAdd),
			},
			{Name: "list", Usage: "list the tasks", Action: p.action(exactly(0), (*call).taskList)},
			{Name: "show", Usage: "show one task", ArgsUsage: "NAME", Action: p.action(exactly(1), (*call).taskShow)},
			{
				Name: "run", Usage: "run a task now, beside its schedule", ArgsUsage: "NAME",
				Flags:  []cli.Flag{toggle("wait", "until it has ended; exit code 1 unless it succeeded")},
				Action: p.action(exactly(1), (*call).taskRun),
			},
			{
				Name: "pause", Usage: "stop a task", ArgsUsage: "NAME",
				Description: "Times that pass meanwhile are not made up for.",
				Flags:       []cli.Flag{text("reason", "TEXT", "why, for whoever looks later")},
				Action: p.action(exactly(1), func(c *call) error {
					return c.taskWrite(func(ctx context.Context) (admin.Task, error) {
						return c.api.PauseTask(ctx, c.arg(0), c.cli.String("reason"))
					})
				}),
			},
			{
				Name: "resume", Usage: "start a paused task again", ArgsUsage: "NAME",
				Action: p.action(exactly(1), func(c *call) error {
					return c.taskWrite(func(ctx context.Context) (admin.Task, error) { return c.api.ResumeTask(ctx, c.arg(0)) })
				}),
			},
			{
				Name: "remove", Usage: "delete a task", ArgsUsage: "NAME",
				Description: "What is running may finish, and the history stays.",
				Flags:       []cli.Flag{yes()},
				Action:      p.action(exactly(1), (*call).taskRemove),
			},
			{
				Name: "history", Usage: "show what became of a task's due times", ArgsUsage: "NAME",
				Flags:  []cli.Flag{limit()},
				Action: p.action(exactly(1), (*call).taskHistory),
			},
		},
	}
}

func taskFlags() []cli.Flag {
	return []cli.Flag{
		text("document", "DOCUMENT", "what is reloaded: its name, at most 128 bytes"),
		lasting(period("every", "interval, counted from --start, 1s to 87600h"), 10*365*24*time.Hour),
		text("cron", "EXPRESSION", "five fields: minute, hour, day of month, month, day of week; six with seconds first; or @hourly, @daily, @weekly, @monthly, @yearly"),
		text("zone", "ZONE", "time zone of --cron, such as Europe/Berlin; by default UTC"),
		text("start", "TIME", "not before this time, such as 2030-01-31T06:00:00Z; by default now"),
		text("engine", "ENGINE", "name of the engine that runs it; by default any"),
		text("tag", "TAG", "tag of the nodes that may run it; by default all"),
		among(number("attempts", "tries for one due time, 1 to 100 (default 3)"), 1, 100),
		lasting(period("attempt-timeout", "that one try may take, at most 168h (default 1h)"), 7*24*time.Hour),
		lasting(period("catch-up", "by which a due time may be late, at most 720h; later it is recorded as missed (default 1h)"), 30*24*time.Hour),
		toggle("replace", "change the task if there is one of this name"),
	}
}

const (
	maxDocumentName = 128 // bytes, as in load reports

	// Times outside of these years are mistakes, and the API takes no others.
	firstYear, lastYear = 1970, 2200
)

// validDocument reports whether a document can be called that.
func validDocument(name string) bool {
	return len(name) <= maxDocumentName && utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl)
}

func (c *call) taskAdd() error {
	spec := admin.TaskSpec{
		Document: c.cli.String("document"), Engine: c.cli.String("engine"), Tag: c.cli.String("tag"),
		Cron: c.cli.String("cron"), Zone: c.cli.String("zone"), Every: admin.Duration(c.cli.Duration("every")),
		Attempts: c.cli.Int("attempts"), Timeout: admin.Duration(c.cli.Duration("attempt-timeout")),
		CatchUp: admin.Duration(c.cli.Duration("catch-up")),
	}
	switch {
	case spec.Document == "":
		return usage("give --document DOCUMENT", "a task needs a document to reload")
	case !validDocument(spec.Document):
		return usage("give the name by which its engine knows it", "--document %.64q is no document: at most %d bytes of text without control characters", spec.Document, maxDocumentName)
	case (spec.Cron == "") == (spec.Every == 0):
		return usage("give --every 1h, or --cron '0 6 * * *'", "a task needs either an interval or a cron expression")
	}
	if s := c.cli.String("start"); s != "" {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return usage("write it like 2030-01-31T06:00:00Z", "--start %q is no time", s)
		}
		if y := t.UTC().Year(); y < firstYear || y > lastYear {
			return usage(fmt.Sprintf("use a year from %d to %d", firstYear, lastYear), "--start %q is out of range", s)
		}
		spec.Start = t
	}
	var opts []admin.Option
	if !c.cli.Bool("replace") {
		opts = append(opts, admin.IfAbsent())
	}
	name := c.arg(0)
	t, err := ask(c, func(ctx context.Context) (admin.Task, error) { return c.api.PutTask(ctx, name, spec, opts...) })
	if isCode(err, admin.CodePrecondition) {
		return failed("change it with --replace, or choose another name", "there is a task %s already", name)
	}
	if err != nil {
		return err
	}
	return c.taskPrint(t)
}

func (c *call) taskList() error {
	l, err := listAll(c, c.api.Tasks)
	if err != nil {
		return err
	}
	truth := c.truthOf(l.Meta)
	return c.emit(c.cli, l, func(o *printer) {
		truth(o)
		var rows [][]string
		for _, t := range l.Items {
			last, ended := "", ""
			if t.Last != nil {
				last, ended = t.Last.State, c.when(lastTime(*t.Last))
			}
			rows = append(rows, []string{t.Name, t.Document, schedule(t.TaskSpec), c.nextText(t), last, ended})
		}
		o.table([]string{"TASK", "DOCUMENT", "SCHEDULE", "NEXT", "LAST", "WHEN"}, rows)
	})
}

func lastTime(o admin.Occurrence) time.Time {
	if o.Ended.IsZero() {
		return o.Due
	}
	return o.Ended
}

func schedule(t admin.TaskSpec) string {
	if t.Every > 0 {
		return "every " + t.Every.String()
	}
	if t.Zone != "" {
		return t.Cron + " " + t.Zone
	}
	return t.Cron
}

func (p *program) nextText(t admin.Task) string {
	switch {
	case t.Paused:
		return "paused"
	case len(t.Next) == 0:
		return ""
	}
	return p.when(t.Next[0])
}

func (c *call) taskShow() error {
	t, err := ask(c, func(ctx context.Context) (admin.Task, error) { return c.api.Task(ctx, c.arg(0)) })
	if err != nil {
		return err
	}
	return c.taskPrint(t)
}

func (c *call) taskPrint(t admin.Task) error {
	truth := c.truthOf(t.Meta)
	return c.emit(c.cli, t, func(o *printer) {
		truth(o)
		last := ""
		if t.Last != nil {
			last = t.Last.State + " " + c.when(lastTime(*t.Last))
		}
		o.facts(
			"task", t.Name,
			"document", t.Document,
			"schedule", schedule(t.TaskSpec),
			"next", c.nextText(t),
			"reason", t.Reason,
			"last", last,
			"engine", t.Engine,
			"tag", t.Tag,
			"attempts", fmt.Sprintf("%d of at most %s each", t.Attempts, t.Timeout),
			"catch-up", t.CatchUp.String(),
			"by", t.By,
		)
	})
}

func (c *call) taskWrite(write func(context.Context) (admin.Task, error)) error {
	t, err := ask(c, write)
	if err != nil {
		return err
	}
	return c.taskPrint(t)
}

func (c *call) taskRemove() error {
	t, err := ask(c, func(ctx context.Context) (admin.Task, error) { return c.api.Task(ctx, c.arg(0)) })
	if err != nil {
		return err
	}
	if err := c.confirm(c.cli, "remove task %s (document %s, %s)", t.Name, t.Document, schedule(t.TaskSpec)); err != nil {
		return err
	}
	_, err = ask(c, func(ctx context.Context) (struct{}, error) { return struct{}{}, c.api.RemoveTask(ctx, t.Name) })
	if err != nil {
		return err
	}
	return c.emit(c.cli, t, func(o *printer) { o.line("task %s is removed", t.Name) })
}

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/ushercluster/usher/agent/admin"
)

func (c *call) taskRun() error {
	o, err := ask(c, func(ctx context.Context) (admin.Occurrence, error) { return c.api.RunTask(ctx, c.arg(0)) })
	if err != nil {
		return err
	}
	if !c.cli.Bool("wait") {
		return c.emit(c.cli, o, func(out *printer) { out.line("%s is to run: %s", o.Task, o.ID) })
	}
	err = c.until(func(g *progress) (bool, error) {
		if o, err = ask(c, func(ctx context.Context) (admin.Occurrence, error) { return c.api.Occurrence(ctx, o.ID) }); err != nil {
			return false, err
		}
		g.say("%s is %s%s, attempt %d", o.Task, o.State, onNode(o), o.Attempt)
		return ended(o), nil
	})
	if err != nil {
		return err
	}
	if o.State != "succeeded" {
		return failed("see usher task history "+o.Task, "%s: %s: %s", o.ID, o.State, o.Error)
	}
	return c.emit(c.cli, o, func(out *printer) {
		out.line("%s succeeded%s after %s: %d rows", o.Task, onNode(o), o.Took.String(), o.Rows)
	})
}

func onNode(o admin.Occurrence) string {
	if o.Node == nil {
		return ""
	}
	return " on " + nodeName(*o.Node)
}

// ended reports whether nothing more will happen to an occurrence.
func ended(o admin.Occurrence) bool {
	switch o.State {
	case "pending", "claimed", "started":
		return false
	}
	return true
}

func (c *call) taskHistory() error {
	name := c.arg(0)
	l, err := newest(c, c.cli.Int("limit"), func(ctx context.Context, opts ...admin.Option) (admin.List[admin.Occurrence], error) {
		return c.api.TaskOccurrences(ctx, name, opts...)
	})
	if err != nil {
		return err
	}
	truth := c.truthOf(l.Meta)
	return c.emit(c.cli, l, func(o *printer) {
		truth(o)
		var rows [][]string
		for _, r := range l.Items {
			rows = append(rows, historyRow(r))
		}
		o.table([]string{"DUE", "STATE", "ATTEMPT", "NODE", "ENGINE", "TOOK", "ROWS", "ERROR"}, rows)
	})
}

func historyRow(r admin.Occurrence) []string {
	node, took, rows := "", "", ""
	if r.Node != nil {
		node = nodeName(*r.Node)
	}
	if r.Took > 0 {
		took = r.Took.String()
	}
	if r.State == "succeeded" {
		rows = fmt.Sprint(r.Rows)
	}
	due := r.Due.UTC().Format("2006-01-02 15:04:05Z")
	if r.Manual {
		due += " by hand"
	}
	return []string{due, r.State, fmt.Sprint(r.Attempt), node, r.Engine, took, rows, r.Error}
}

// isCode reports whether the API refused with this code.
func isCode(err error, code admin.Code) bool {
	var p *admin.Problem
	return errors.As(err, &p) && p.Code == code
}

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/admin"
)

func (p *program) snapshotRestoreCommand() *cli.Command {
	flags := []cli.Flag{
		recoveryKeyFlag(),
		toggle("foreign", "with --over: also from a file of another cluster, such as the one that this was restored from"),
		toggle("over", "bring settings and tasks of the living cluster that answers back to the file's, instead of making a new one"),
		yes(),
		text("cluster-name", "NAME", "what the new cluster is called; by default as before"),
	}
	return &cli.Command{
		Name: "restore", Usage: "make a new cluster of what was saved, or bring a living one back to it", ArgsUsage: "FILE",
		Description: `Makes this machine the first node of a new cluster, as usher init does, with the settings, tasks, tokens, secrets and history of the file. It has an identity of its own, so that machines of the old cluster which come back do no harm; all other machines join it. The recovery key stays.

With --over a living cluster keeps its nodes, tokens, sessions and history, and gets the file's settings and tasks: what differs is shown before anything is changed.`,
		Flags:  append(flags, configFlags("data-dir", "name", "bind", "advertise")...),
		Action: p.snapshotRestore,
	}
}

func (p *program) snapshotRestore(c *cli.Context) error {
	if c.Bool("over") && c.IsSet("cluster-name") {
		return usage("leave out --cluster-name", "with --over the living cluster keeps its name")
	}
	if c.Bool("over") {
		return p.action(exactly(1), (*call).snapshotOver)(c)
	}
	if err := exactly(1).check(c); err != nil {
		return err
	}
	cfg, _, err := p.configure(c)
	if err != nil {
		return err
	}
	key, err := p.mustRecoveryKey(c)
	if err != nil {
		return err
	}
	path := c.Args().First()
	f, err := openSnapshotFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, cancel := p.untilSignal(c.Context)
	defer cancel()
	r, err := p.machine.Restore(ctx, cfg, agent.RestoreOptions{From: f, Key: key, ClusterName: c.String("cluster-name"), By: p.user(), Now: p.now})
	switch {
	case err != nil && isPermanent(err), err != nil && isHeld(err):
		return initFailure(cfg, err)
	case diskFull(err):
		return err
	case err != nil:
		return unreadableSnapshot(path, err)
	}
	return p.founded(c, cfg, r)
}

// change is one difference between a snapshot and a living cluster.
type change struct {
	What string `json:"what"` // setting or task
	Name string `json:"name"`
	Now  string `json:"now"` // in words; "" is not there
	Then string `json:"then"`

	do func(context.Context) error
}

// overAnswer is what restore --over prints as JSON.
type overAnswer struct {
	File     string   `json:"file"`
	Revision uint64   `json:"revision"` // of the snapshot
	Changes  []change `json:"changes"`
}

func (c *call) snapshotOver() error {
	key, err := c.mustRecoveryKey(c.cli)
	if err != nil {
		return err
	}
	f, err := openSnapshotFile(c.arg(0))
	if err != nil {
		return err
	}
	defer f.Close()
	s, err := agent.OpenSnapshot(f, key)
	if err != nil {
		return unreadableSnapshot(c.arg(0), err)
	}
	if err := c.sameCluster(s); err != nil {
		return err
	}
	changes, err := c.differences(s)
	if err != nil {
		return err
	}
	out := overAnswer{File: c.arg(0), Revision: s.Header.Revision, Changes: changes}
	if len(changes) > 0 {
		preview := &printer{}
		preview.changes(changes)
		fmt.Fprint(c.stderr, preview.b.String())
		if err := c.confirm(c.cli, "make these changes in the living cluster"); err != nil {
			return err
		}
	}
	for i, ch := range changes {
		if _, err := ask(c, func(ctx context.Context) (struct{}, error) { return struct{}{}, ch.do(ctx) }); err != nil {
			return failed("repeat the command: it goes on with what still differs", "%d of %s are made; %s %s: %w",
				i, count(len(changes), "change"), ch.What, ch.Name, err)
		}
	}
	return c.emit(c.cli, out, func(o *printer) {
		if len(changes) == 0 {
			o.line("nothing differs: settings and tasks are as in the file")
			return
		}
		o.line("done: %s", count(len(changes), "change"))
	})
}

// sameCluster refuses another cluster's file, unless that is wanted.
func (c *call) sameCluster(s *agent.Snapshot) error {
	st, err := ask(c, func(ctx context.Context) (admin.Status, error) { return c.api.Status(ctx) })
	if err != nil || st.Cluster.ID == s.Header.ClusterID || c.cli.Bool("foreign") {
		return err
	}
	return failed("is it the right file? --foreign takes it all the same", "%s is of another cluster, %s (%s): this one is %s (%s)",
		c.arg(0), s.Header.ClusterName, s.Header.ClusterID, st.Cluster.Name, st.Cluster.ID)
}

func (o *printer) changes(all []change) {
	var rows [][]string
	for _, ch := range all {
		rows = append(rows, []string{ch.What, ch.Name, ch.Now, ch.Then})
	}
	o.table([]string{"WHAT", "NAME", "NOW", "THEN"}, rows)
}

// differences compares settings and tasks.
func (c *call) differences(s *agent.Snapshot) ([]change, error) {
	now, err := ask(c, func(ctx context.Context) (admin.Settings, error) { return c.api.ExportSettings(ctx, false) })
	if err != nil {
		return nil, err
	}
	tasks, err := listAll(c, c.api.Tasks)
	if err != nil {
		return nil, err
	}
	then := map[string]string{}
	for _, row := range s.State.View().SettingRows() {
		then[row.Key] = row.Value
	}
	out := c.settingChanges(now.Settings, then)
	living := map[string]admin.Task{}
	for _, t := range tasks.Items {
		living[t.Name] = t
	}
	for _, row := range s.State.View().Tasks() {
		out = append(out, c.taskChanges(living, row.Name, admin.SpecOf(row), row.Paused, row.Reason)...)
		delete(living, row.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(living)) {
		etag := living[name].Etag
		out = append(out, change{"task", name, taskWords(living[name].TaskSpec, living[name].Paused), "", func(ctx context.Context) error {
			return c.api.RemoveTask(ctx, name, admin.IfMatch(etag))
		}})
	}
	return out, nil
}

func (c *call) settingChanges(now, then map[string]string) []change {
	var out []change
	both := maps.Clone(then)
	maps.Copy(both, now)
	for _, key := range slices.Sorted(maps.Keys(both)) {
		was, isSet := now[key]
		value, willBe := then[key]
		if isSet == willBe && was == value {
			continue
		}
		ch := change{"setting", key, settingWords(was, isSet), settingWords(value, willBe), func(ctx context.Context) error {
			_, err := c.api.SetSetting(ctx, key, value)
			return err
		}}
		if !willBe {
			ch.do = func(ctx context.Context) error {
				_, err := c.api.UnsetSetting(ctx, key)
				return err
			}
		}
		out = append(out, ch)
	}
	return out
}

func settingWords(value string, set bool) string {
	if !set {
		return "default"
	}
	return shown(value)
}

func (c *call) taskChanges(living map[string]admin.Task, name string, spec admin.TaskSpec, paused bool, reason string) []change {
	old, there := living[name]
	if there && taskWords(old.TaskSpec, old.Paused) == taskWords(spec, paused) {
		return nil
	}
	now := ""
	if there {
		now = taskWords(old.TaskSpec, old.Paused)
	}
	return []change{{"task", name, now, taskWords(spec, paused), func(ctx context.Context) error {
		guard := admin.IfAbsent()
		if there {
			guard = admin.IfMatch(old.Etag)
		}
		if _, err := c.api.PutTask(ctx, name, spec, guard); err != nil {
			return err
		}
		var err error
		switch {
		case paused && !old.Paused:
			_, err = c.api.PauseTask(ctx, name, reason)
		case !paused && old.Paused:
			_, err = c.api.ResumeTask(ctx, name)
		}
		return err
	}}}
}

// taskWords is all that a task's definition says, in one line.
func taskWords(t admin.TaskSpec, paused bool) string {
	words := "reload " + t.Document
	if t.Cron != "" {
		words += fmt.Sprintf(" at %q", t.Cron)
	}
	if t.Every != 0 {
		words += " every " + t.Every.String()
	}
	for _, part := range []struct{ name, value string }{{"zone", t.Zone}, {"engine", t.Engine}, {"tag", t.Tag}} {
		if part.value != "" {
			words += ", " + part.name + " " + part.value
		}
	}
	if !t.Start.IsZero() {
		words += ", from " + t.Start.UTC().Format("2006-01-02T15:04:05Z")
	}
	words += fmt.Sprintf(", %d attempts of %s, catches up %s", t.Attempts, t.Timeout, t.CatchUp)
	if paused {
		words += ", paused"
	}
	return words
}

package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/ushercluster/usher/agent/admin"
)

// settingWatch prints changes until it is interrupted; that is its end, not a
// failure.
func (c *call) settingWatch() error {
	keys := c.cli.Args().Slice()
	var before map[string]admin.Setting
	list := func(ctx context.Context, opts ...admin.Option) (admin.List[admin.Setting], error) {
		return admin.All(ctx, c.api.Settings, opts...)
	}
	err := admin.Watch(c.ctx, list, func(l admin.List[admin.Setting]) error {
		now := byKey(l.Items)
		if err := unknownKeys(keys, now); err != nil {
			return err
		}
		changes := settingChanges(before, now, keys)
		before = now
		for _, ch := range changes {
			if err := c.printChange(c.attribute(ch, l.Revision)); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func byKey(all []admin.Setting) map[string]admin.Setting {
	m := make(map[string]admin.Setting, len(all))
	for _, s := range all {
		m[s.Key] = s
	}
	return m
}

func unknownKeys(keys []string, all map[string]admin.Setting) error {
	for _, k := range keys {
		if _, ok := all[k]; !ok {
			return failed("see usher setting list", "there is no setting %q", k)
		}
	}
	return nil
}

// settingChange is one line of the watch.
type settingChange struct {
	At     time.Time `json:"at"`
	Key    string    `json:"key"`
	Old    string    `json:"old"`
	Value  string    `json:"value"`
	Source string    `json:"source"`
	By     string    `json:"by,omitempty"`
}

// attribute finds who unset a setting, and when: it has no row any more, but the
// history does. revision is that of the answer which shows it.
func (c *call) attribute(ch settingChange, revision uint64) settingChange {
	if ch.Source != admin.SourceDefault {
		return ch
	}
	l, err := ask(c, func(ctx context.Context) (admin.List[admin.Audit], error) { return c.api.SettingHistory(ctx, ch.Key) })
	if err != nil {
		return ch // the change is worth telling without
	}
	for _, a := range l.Items { // the newest first
		if a.Revision <= revision && a.Code == "" {
			ch.By, ch.At = a.Actor, a.At
			break
		}
	}
	return ch
}

// settingChanges compares two answers, by key; the first answer is no change.
func settingChanges(before, now map[string]admin.Setting, keys []string) []settingChange {
	var out []settingChange
	for key, s := range now {
		old, known := before[key]
		if !known || old.Modified == s.Modified && old.Value == s.Value && old.Source == s.Source {
			continue
		}
		if len(keys) > 0 && !slices.Contains(keys, key) {
			continue
		}
		out = append(out, settingChange{At: s.At, Key: key, Old: old.Value, Value: s.Value, Source: s.Source, By: s.By})
	}
	slices.SortFunc(out, func(a, b settingChange) int { return strings.Compare(a.Key, b.Key) })
	return out
}

func (c *call) printChange(ch settingChange) error {
	if ch.At.IsZero() {
		ch.At = c.now()
	}
	if c.cli.String("output") == formatJSON {
		return c.emitJSONLine(ch)
	}
	return c.emit(c.cli, ch, func(o *printer) {
		by := ""
		if ch.By != "" {
			by = " by " + ch.By
		}
		if ch.Source == admin.SourceDefault {
			by += " (default)"
		}
		o.line("%s  %s  %s -> %s%s", ch.At.UTC().Format("15:04:05Z"), ch.Key, shown(ch.Old), shown(ch.Value), by)
	})
}

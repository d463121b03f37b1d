package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"gopkg.in/yaml.v3"

	"github.com/ushercluster/usher/agent/admin"
)

func (p *program) settingCommand() *cli.Command {
	return &cli.Command{
		Name: "setting", Usage: "read and change what the whole cluster agrees on",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "list the settings with their values in force",
				Flags:  []cli.Flag{toggle("changed", "only those that somebody set")},
				Action: p.action(exactly(0), (*call).settingList),
			},
			{Name: "get", Usage: "print one setting's value", ArgsUsage: "KEY", Action: p.action(exactly(1), (*call).settingGet)},
			{
				Name: "set", Usage: "set a value, in force on every node at once", ArgsUsage: "KEY VALUE",
				Description: "A value that begins with - goes behind --:\n  usher setting set KEY -- -1",
				Action:      p.action(exactly(2), (*call).settingSet),
			},
			{Name: "unset", Usage: "bring the default back", ArgsUsage: "KEY", Action: p.action(exactly(1), (*call).settingUnset)},
			{
				Name: "export", Usage: "print the settings for import",
				Flags:  []cli.Flag{toggle("all", "with those that have their defaults")},
				Action: p.action(exactly(0), (*call).settingExport),
			},
			{
				Name: "import", Usage: "set what a file says, all or nothing", ArgsUsage: "FILE",
				Description: "FILE is what export printed, as YAML or JSON; - is standard input. One that names no setting changes nothing, and with --reset unsets all.",
				Flags:       []cli.Flag{toggle("reset", "bring the default back of what the file does not name"), yes()},
				Action:      p.action(exactly(1), (*call).settingImport),
			},
			{
				Name: "watch", Usage: "print changes as they happen", ArgsUsage: "[KEY...]",
				Action: p.action(between(0, -1), (*call).settingWatch),
			},
			{
				Name: "history", Usage: "show who changed what", ArgsUsage: "[KEY]",
				Flags:  []cli.Flag{limit()},
				Action: p.action(between(0, 1), (*call).settingHistory),
			},
		},
	}
}

func limit() cli.Flag {
	return among(withNumber(number("limit", "show at most so many, 1 to 1000, the newest first"), 50), 1, 1000)
}

func (c *call) settingList() error {
	l, err := listAll(c, c.api.Settings)
	if err != nil {
		return err
	}
	if c.cli.Bool("changed") {
		all := l.Items
		l.Items = []admin.Setting{}
		for _, s := range all {
			if s.Source != admin.SourceDefault {
				l.Items = append(l.Items, s)
			}
		}
	}
	truth := c.truthOf(l.Meta)
	return c.emit(c.cli, l, func(o *printer) {
		truth(o)
		var rows [][]string
		for _, s := range l.Items {
			rows = append(rows, []string{s.Key, shown(s.Value), s.Source, s.Accepts, s.Help})
		}
		o.table([]string{"KEY", "VALUE", "SOURCE", "ACCEPTS", "MEANING"}, rows)
	})
}

// shown makes an empty value visible.
func shown(value string) string {
	if value == "" {
		return `""`
	}
	return value
}

func (c *call) settingGet() error {
	s, err := ask(c, func(ctx context.Context) (admin.Setting, error) { return c.api.Setting(ctx, c.arg(0)) })
	if err != nil {
		return err
	}
	return c.emit(c.cli, s, func(o *printer) { o.line("%s", s.Value) })
}

func (c *call) settingSet() error {
	return c.settingWrite(func(ctx context.Context) (admin.Setting, error) { return c.api.SetSetting(ctx, c.arg(0), c.arg(1)) })
}

func (c *call) settingUnset() error {
	return c.settingWrite(func(ctx context.Context) (admin.Setting, error) { return c.api.UnsetSetting(ctx, c.arg(0)) })
}

func (c *call) settingWrite(write func(context.Context) (admin.Setting, error)) error {
	s, err := ask(c, write)
	if err != nil {
		return err
	}
	return c.emit(c.cli, s, func(o *printer) { o.line("%s is %s (%s)", s.Key, shown(s.Value), s.Source) })
}

func (c *call) settingExport() error {
	s, err := ask(c, func(ctx context.Context) (admin.Settings, error) { return c.api.ExportSettings(ctx, c.cli.Bool("all")) })
	if err != nil {
		return err
	}
	if s.Settings == nil {
		s.Settings = map[string]string{}
	}
	text, err := yaml.Marshal(map[string]any{"settings": s.Settings})
	if err != nil {
		return fmt.Errorf("print settings: %w", err)
	}
	return c.emit(c.cli, s, func(o *printer) { o.b.Write(text) })
}

const maxImport = 1 << 20

func (c *call) settingImport() error {
	s, err := c.readSettings(c.arg(0))
	if err != nil {
		return err
	}
	others, send := "", c.api.ImportSettings
	if s.Reset = c.cli.Bool("reset"); s.Reset {
		if err := c.confirm(c.cli, "%s", resetQuestion(len(s.Settings))); err != nil {
			return err
		}
		others = "; all others have their defaults"
	} else if len(s.Settings) == 0 { // what export prints where nothing is set
		send = func(ctx context.Context, _ admin.Settings, opts ...admin.Option) (admin.Settings, error) {
			return c.api.ExportSettings(ctx, false, opts...)
		}
	}
	out, err := ask(c, func(ctx context.Context) (admin.Settings, error) { return send(ctx, s) })
	if err != nil {
		return err
	}
	return c.emit(c.cli, out, func(o *printer) { o.line("set: %s%s", count(len(s.Settings), "setting"), others) })
}

func resetQuestion(named int) string {
	if named == 0 {
		return "the file names no setting: bring all back to their defaults"
	}
	return fmt.Sprintf("set %s and bring all others back to their defaults", count(named, "setting"))
}

// readSettings reads what export printed. YAML reads JSON too.
func (p *program) readSettings(path string) (admin.Settings, error) {
	in := p.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return admin.Settings{}, failed("name the file that usher setting export wrote", "read settings: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxImport+1))
	if err != nil {
		return admin.Settings{}, fmt.Errorf("read settings: %w", err)
	}
	if len(text) > maxImport {
		return admin.Settings{}, failed("is it the right file?", "%s has over %d bytes", path, maxImport)
	}
	s, err := parseSettings(text)
	if err != nil {
		return s, failed("write it as usher setting export does", "%s: %w", path, err)
	}
	return s, nil
}

// parseSettings is strict about the shape and takes values as they are written:
// what a value may be is for the cluster to say.
func parseSettings(text []byte) (admin.Settings, error) {
	var file struct {
		Settings yaml.Node `yaml:"settings"`
		Reset    yaml.Node `yaml:"reset"` // of an export as JSON; the flag decides
	}
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	dec.KnownFields(true)
	switch err := dec.Decode(&file); {
	case errors.Is(err, io.EOF):
		return admin.Settings{}, errors.New("the file is empty: an export without settings is {settings: {}}")
	case err != nil:
		return admin.Settings{}, fmt.Errorf("read settings: %w", err)
	case file.Settings.Kind != yaml.MappingNode: // an empty one is an answer, a missing one is a mistake
		return admin.Settings{}, errors.New("there is nothing below the key settings")
	}
	values := map[string]yaml.Node{}
	if err := file.Settings.Decode(&values); err != nil {
		return admin.Settings{}, fmt.Errorf("read settings: %w", err)
	}
	s := admin.Settings{Settings: map[string]string{}}
	for key, value := range values {
		if value.Kind != yaml.ScalarNode || value.Tag == "!!null" {
			return admin.Settings{}, fmt.Errorf("line %d: %s needs one value", value.Line, key)
		}
		s.Settings[key] = value.Value
	}
	return s, nil
}

func (c *call) settingHistory() error {
	l, err := newest(c, c.cli.Int("limit"), func(ctx context.Context, opts ...admin.Option) (admin.List[admin.Audit], error) {
		return c.api.SettingHistory(ctx, c.arg(0), opts...)
	})
	if err != nil {
		return err
	}
	truth := c.truthOf(l.Meta)
	return c.emit(c.cli, l, func(o *printer) {
		truth(o)
		var rows [][]string
		for _, a := range l.Items {
			outcome := "done"
			if a.Code != "" {
				outcome = a.Code
			}
			rows = append(rows, []string{a.At.UTC().Format("2006-01-02 15:04:05Z"), a.Actor, nodeName(a.Via), a.Target, a.Detail, outcome})
		}
		o.table([]string{"AT", "WHO", "VIA", "SETTING", "CHANGE", "OUTCOME"}, rows)
	})
}

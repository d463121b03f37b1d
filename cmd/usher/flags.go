package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/config"
)

// A flag's usage begins with the name of its value in back quotes: see flagHelp.

func text(name, value, usage string) *cli.StringFlag {
	return &cli.StringFlag{Name: name, Usage: "`" + value + "` " + usage}
}

func withDefault(f *cli.StringFlag, value string) *cli.StringFlag {
	f.Value = value
	return f
}

func toggle(name, usage string) *cli.BoolFlag { return &cli.BoolFlag{Name: name, Usage: usage} }

func number(name, usage string) *cli.IntFlag {
	return &cli.IntFlag{Name: name, Usage: "`N` " + usage}
}

func period(name, usage string) *cli.DurationFlag {
	return &cli.DurationFlag{Name: name, Usage: "`DURATION` " + usage}
}

// among makes values that are not from lo to hi usage errors, before anything is sent.
func among(f *cli.IntFlag, lo, hi int) *cli.IntFlag {
	f.Action = func(_ *cli.Context, v int) error {
		if v < lo || v > hi {
			return usage(fmt.Sprintf("use %d to %d", lo, hi), "--%s %d is out of range", f.Name, v)
		}
		return nil
	}
	return f
}

// lasting is among for durations, from a second.
func lasting(f *cli.DurationFlag, hi time.Duration) *cli.DurationFlag {
	f.Action = func(_ *cli.Context, v time.Duration) error {
		if v < time.Second || v > hi {
			return usage(fmt.Sprintf("use 1s to %s", admin.Duration(hi)), "--%s %s is out of range", f.Name, admin.Duration(v))
		}
		return nil
	}
	return f
}

// yes is the flag of commands that cannot be taken back.
func yes() cli.Flag { return toggle("yes", "do not ask") }

// configFlags are the flags of the configuration's fields: all of them, or those
// named.
func configFlags(only ...string) []cli.Flag {
	flags := []cli.Flag{text("config", "FILE", "configuration file (YAML) [$USHER_CONFIG]")}
	defaults := config.Defaults(config.Facts{}) // those that are the same on every machine
	for _, f := range config.Fields() {
		if len(only) > 0 && !slices.Contains(only, f.Flag) {
			continue
		}
		if f.Switch() {
			s := toggle(f.Flag, f.Help+" [$"+f.Env+"]")
			s.Hidden = f.Hidden
			flags = append(flags, s)
			continue
		}
		usage := "`" + f.Value + "` " + f.Help
		if d := defaults[f.Key].Texts; len(d) == 1 && d[0] != "" {
			usage += " (default " + d[0] + ")"
		}
		usage += " [$" + f.Env + "]"
		if f.Many {
			flags = append(flags, &cli.StringSliceFlag{Name: f.Flag, Usage: usage, Hidden: f.Hidden})
			continue
		}
		flags = append(flags, &cli.StringFlag{Name: f.Flag, Usage: usage, Hidden: f.Hidden})
	}
	return flags
}

package main

import (
	"errors"
	"flag"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// options are the command line.
type options struct {
	usher    string // binary
	tree     string // from what it was made
	kinds    []kind
	time     time.Duration // of a phase
	warmUp   time.Duration
	count    int     // slow clients, or starved streams
	users    int     // honest ones
	rate     float64 // of their requests a second, all together
	cpu      float64 // of one core that abusers may take
	strength float64 // multiplies the rates of abuse
	json     bool
	into     string
}

// usageError is a command line that says nothing that can be done.
type usageError struct{ error }

func parse(args []string) (options, error) {
	var o options
	var only, output string
	flags := flag.NewFlagSet("abuse", flag.ContinueOnError)
	flags.StringVar(&o.usher, "binary", "", "the usher binary to abuse")
	flags.StringVar(&o.tree, "tree", "of unknown origin", "what the binary was made from, for the output")
	flags.StringVar(&only, "only", "", "the kinds of abuse, by name, where * stands for anything; all if there is none")
	flags.DurationVar(&o.time, "for", 20*time.Second, "how long each phase takes")
	flags.DurationVar(&o.warmUp, "warm-up", 3*time.Second, "what comes before them and does not count")
	flags.IntVar(&o.count, "count", 1000, "slow clients; starved streams")
	flags.IntVar(&o.users, "users", 50, "honest users, each with a connection and a session")
	flags.Float64Var(&o.rate, "rate", 500, "their requests a second, all together")
	flags.Float64Var(&o.cpu, "cpu", 0.25, "the part of one core that abusers may take")
	flags.Float64Var(&o.strength, "strength", 1, "multiplies how often a second abusers do what they do")
	flags.StringVar(&output, "output", "table", "table or json")
	flags.StringVar(&o.into, "into", "", "put it as Markdown into this page too")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, usageError{err}
	}
	o.json = output == "json"
	var err error
	if o.kinds, err = choose(only); err != nil {
		return o, usageError{err}
	}
	if err := o.check(output, flags.NArg()); err != nil {
		return o, usageError{err}
	}
	return o, nil
}

func (o options) check(output string, rest int) error {
	switch {
	case o.usher == "":
		return errors.New("give --binary FILE")
	case o.time < time.Second, o.warmUp < 0:
		return errors.New("give --for of at least 1s, and a --warm-up that is not negative")
	case o.count < 1, o.users < 1, o.users > 1000:
		return errors.New("give --count of at least 1, and 1 to 1000 --users")
	case !(o.rate > 0), !(o.cpu > 0), o.cpu > 1, !(o.strength > 0):
		return errors.New("give --rate and --strength above 0, and --cpu above 0 and at most 1")
	case output != "json" && output != "table":
		return fmt.Errorf("--output %q: give table or json", output)
	case rest > 0:
		return errors.New("there are words behind the flags")
	}
	return nil
}

// choose is the kinds that one of the patterns between commas matches.
func choose(only string) ([]kind, error) {
	if only == "" {
		return kinds[:], nil
	}
	var out []kind
	for pattern := range strings.SplitSeq(only, ",") {
		pattern, found := strings.TrimSpace(pattern), false
		for _, k := range kinds {
			is, err := path.Match(pattern, k.Name)
			if err != nil {
				return nil, fmt.Errorf("--only %q: %w", pattern, err)
			}
			found = found || is
			if is && !slices.ContainsFunc(out, func(o kind) bool { return o.Name == k.Name }) {
				out = append(out, k)
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no abuse called %q\nnext: name some of %s", pattern, strings.Join(kindNames(), ", "))
		}
	}
	return out, nil
}

// facts stand above the figures.
func (o options) facts() []string {
	return []string{
		"usher " + o.tree + ": one agent for each kind of abuse, built-in engine",
		fmt.Sprintf("%d honest users, %.0f requests a second, sent when they are due; phases of %s", o.users, o.rate, o.time),
		fmt.Sprintf("abusers take at most %.0f %% of one core; the control takes what they took", 100*o.cpu),
		"ratio: the 99th percentile during the abuse by the larger one of alone and control",
	}
}

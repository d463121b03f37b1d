// Command mutants shows that the tests notice bugs. Each *.patch beside it breaks one
// promise on purpose, and names the test that has to fail because of it.
//
//	copy of the tree --> the named test passes --> patch --> builds --> the test fails
//	                     (once for each test)                           (or: SURVIVED)
//
// The tree that it is started in is left alone: it works on a copy of the files that git
// knows or would take, and removes that at the end, also after Ctrl-C. A test that hangs,
// or a patch that does not build, shows nothing and is a failure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "mutants: "+err.Error())
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "mutants: "+err.Error())
		os.Exit(1)
	}
}

var (
	errUsage = errors.New("wrong usage")
	// errFailed means that a patch showed nothing, or that its bug was not noticed.
	errFailed = errors.New("not every bug is caught")
)

// patchDir is where the patches lie, from the root of the tree.
const patchDir = "scripts/mutants"

// options are the command line.
type options struct {
	list, check    bool
	only           []string // patterns of names; none: all
	timeout        time.Duration
	markdown, loud bool
	into           string
}

func parse(args []string, out io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.BoolVar(&o.list, "list", false, "print the bugs and their tests, and do nothing")
	flags.BoolVar(&o.check, "check", false, "only look whether every patch still applies and its test is there")
	only := flags.String("only", "", "names to take, separated by commas; * stands for anything")
	flags.DurationVar(&o.timeout, "timeout", time.Minute, "how long a test may take")
	flags.BoolVar(&o.markdown, "markdown", false, "print Markdown")
	flags.StringVar(&o.into, "into", "", "put the tables into their parts of this page")
	flags.BoolVar(&o.loud, "verbose", false, "print what the tests say")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	for _, p := range o.only {
		if _, err := path.Match(p, ""); err != nil {
			return o, fmt.Errorf("%w: --only %s: %w", errUsage, p, err)
		}
	}
	if flags.NArg() > 0 || o.timeout <= 0 || o.list && o.check {
		return o, fmt.Errorf("%w: see --help", errUsage)
	}
	return o, nil
}

// run is the command, started in the root of the tree.
func run(ctx context.Context, args []string, out, loud io.Writer) error {
	o, err := parse(args, loud)
	if err != nil {
		return err
	}
	all, err := readMutants(patchDir)
	if err != nil {
		return err
	}
	chosen := choose(all, o.only)
	if len(chosen) == 0 {
		return fmt.Errorf("%w: there is no bug of that name; see --list", errUsage)
	}
	switch {
	case o.list:
		return list(out, chosen, o.markdown)
	case o.check:
		return check(ctx, out, ".", chosen)
	}
	return tryAll(ctx, out, loud, o, chosen)
}

// choose keeps those whose name fits one of the patterns.
func choose(all []mutant, only []string) []mutant {
	if len(only) == 0 {
		return all
	}
	var out []mutant
	for _, m := range all {
		for _, p := range only {
			if ok, _ := path.Match(p, m.name); ok { // the pattern was tried before
				out = append(out, m)
				break
			}
		}
	}
	return out
}

// tryAll works on a copy of the tree, and removes it.
func tryAll(ctx context.Context, out, loud io.Writer, o options, chosen []mutant) (err error) {
	dir, err := os.MkdirTemp("", "usher-mutants-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	all := io.Discard
	if o.loud {
		all = loud
	}
	lab := &lab{tree: filepath.Join(dir, "tree"), bin: filepath.Join(dir, "bin"), timeout: o.timeout, loud: all, sound: map[string]verdict{}}
	if err := copyTree(ctx, ".", lab.tree); err != nil {
		return err
	}
	var results []result
	for _, m := range chosen {
		r, err := lab.try(ctx, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		results = append(results, r)
		if r.verdict != caught && !o.loud { // it may not happen again
			fmt.Fprintf(loud, "-- %s: %s\n%s\n", m.name, r.verdict, lab.words)
		}
		if !o.markdown {
			fmt.Fprintln(out, r.line())
		}
	}
	return report(out, o, results)
}

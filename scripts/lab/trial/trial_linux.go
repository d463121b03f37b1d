// Package trial is what the laboratory's measurements have in common: the command line, where
// they keep what is left of a run, and the report.
package trial

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// ErrUsage is wrapped by errors of the command line.
var ErrUsage = errors.New("the command line is wrong")

// Options are those that every measurement has.
type Options struct {
	Name   string // of the measurement
	Binary string // of usher, built with the tag lab
	Tree   string // what it was made from
	Dir    string // for what is kept
	Seed   uint64
	Keep   bool // logs, also when all went well
	Output bench.Output
}

// Parse reads a command line; own adds a measurement's flags. Help goes to help.
func Parse(name string, args []string, help io.Writer, own func(*flag.FlagSet)) (Options, error) {
	o := Options{Name: name, Output: bench.Output{Name: "lab " + name}}
	flags := flag.NewFlagSet("lab "+name, flag.ContinueOnError)
	flags.SetOutput(help)
	flags.StringVar(&o.Binary, "binary", "", "the usher binary, built with the tag lab")
	flags.StringVar(&o.Tree, "tree", "of unknown origin", "what the binary was made from, for the report")
	flags.StringVar(&o.Dir, "out", "out/lab", "directory for what is kept")
	flags.Uint64Var(&o.Seed, "seed", 1, "decides what is drawn")
	flags.BoolVar(&o.Keep, "keep", false, "keep logs of clusters of which nothing is wrong, too")
	flags.BoolVar(&o.Output.Markdown, "markdown", false, "print the report as Markdown")
	flags.StringVar(&o.Output.Into, "into", "", "put it as Markdown into this page, too")
	own(flags)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return o, err
	case err != nil:
		return o, fmt.Errorf("%w: %w", ErrUsage, err)
	case flags.NArg() > 0:
		return o, fmt.Errorf("%w: there are words after the flags", ErrUsage)
	case o.Binary == "":
		return o, fmt.Errorf("%w: --binary is missing", ErrUsage)
	}
	return o, nil
}

// Place makes the empty directory for what one cluster leaves behind.
func (o Options) Place(cluster string) (string, error) {
	dir, err := filepath.Abs(filepath.Join(o.Dir, o.Name, cluster))
	if err == nil {
		err = errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
	}
	if err != nil {
		return "", fmt.Errorf("make the directory for what is kept: %w", err)
	}
	return dir, nil
}

// Report prints what was measured, behind where, of what and when.
func (o Options) Report(ctx context.Context, out io.Writer, began time.Time, facts []string, tables []bench.Table) error {
	where, err := bench.Machine(ctx)
	if err != nil {
		return err
	}
	of := fmt.Sprintf("usher %s, begun %s, took %s", o.Tree, began.Format("2006-01-02 15:04 MST"), time.Since(began).Round(time.Second))
	fmt.Fprintln(out)
	return o.Output.Write(out, append([]string{where, of}, facts...), tables)
}

package night

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// Name is the word behind lab.sh that asks for the nights.
const Name = "nights"

// ErrUsage means that the command line is wrong.
var ErrUsage = errors.New("the command line is wrong")

var errFailed = errors.New("a night has failed")

// nights are all of them, in the order of the runbook.
func nights() []night {
	return []night{
		{name: "majority", about: "two of three disks are lost, and the survivor goes on", nodes: 3, spare: 2, do: majority},
		{name: "majority-behind", about: "the same, and the survivor had been cut off before", nodes: 3, spare: 2, do: majorityBehind},
		{name: "majority-of-five", about: "three of five disks are lost; of two survivors the newer one goes on", nodes: 5, spare: 1, do: majorityOfFive},
		{name: "all-disks", about: "all disks are lost, and a snapshot is restored on three other machines", nodes: 3, spare: 3, do: allDisks},
		{name: "reborn", about: "a node's disk is lost, and its machine takes its place again", nodes: 3, lives: true, do: reborn},
		{name: "full-disk", about: "a disk is full, and room is made", nodes: 3, lives: true, do: full},
		{name: "wrong-clock", about: "clocks are hours wrong, that of the central node first, and are set", nodes: 3, lives: true, do: wrongClock},
		{name: "wrong-change", about: "settings and tasks are changed by mistake, and brought back", nodes: 3, lives: true, quiet: true, do: wrongChange},
	}
}

// result is what became of a night.
type result struct {
	Night        string        `json:"night"`
	Took         time.Duration `json:"took"`
	Acknowledged int           `json:"acknowledged"`
	Lost         int           `json:"lost"` // of these, all as was said
	Checked      []string      `json:"checked"`
	Failed       string        `json:"failed,omitempty"`
}

// options are the command line.
type options struct {
	binary, tree, dir, book string
	seed                    uint64
	keep, list              bool
	nights                  []night
	output                  bench.Output
}

func parse(args []string, help io.Writer) (options, error) {
	o := options{output: bench.Output{Name: "lab nights"}}
	only := ""
	flags := flag.NewFlagSet("lab nights", flag.ContinueOnError)
	flags.SetOutput(help)
	flags.StringVar(&o.binary, "binary", "", "the usher binary, built with the tag lab")
	flags.StringVar(&o.tree, "tree", "of unknown origin", "what the binary was made from, for the report")
	flags.Uint64Var(&o.seed, "seed", 0, "seed of what is left to chance (default: by the clock)")
	flags.StringVar(&only, "nights", "", "only these nights, such as reborn,full-disk")
	flags.StringVar(&o.book, "runbook", "docs/runbook.md", "the page whose commands are typed")
	flags.BoolVar(&o.keep, "keep", false, "keep logs and history of nights that pass, too")
	flags.BoolVar(&o.list, "list", false, "list the nights, and end")
	flags.StringVar(&o.dir, "out", "out/lab", "directory for what is kept")
	flags.BoolVar(&o.output.Markdown, "markdown", false, "print the report as Markdown")
	flags.StringVar(&o.output.Into, "into", "", "put it as Markdown into this page, too")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().Unix())
	}
	o.nights = nights()
	if only != "" {
		o.nights = nil
		for name := range strings.SplitSeq(only, ",") {
			n, ok := nightOf(strings.TrimSpace(name))
			if !ok {
				return o, fmt.Errorf("%w: there is no night %q", ErrUsage, name)
			}
			o.nights = append(o.nights, n)
		}
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%w: there are words after the flags", ErrUsage)
	case o.binary == "" && !o.list:
		return o, fmt.Errorf("%w: --binary is missing", ErrUsage)
	}
	return o, nil
}

func nightOf(name string) (night, bool) {
	for _, n := range nights() {
		if n.name == name {
			return n, true
		}
	}
	return night{}, false
}

// Run goes through the nights, one line each, and reports.
func Run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	if o.list {
		for _, n := range o.nights {
			fmt.Fprintf(out, "%-18s%s\n", n.name, n.about)
		}
		return nil
	}
	b, err := readBook(o.book)
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(filepath.Join(o.dir, fmt.Sprintf("nights-%d", o.seed)))
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("clear the directory for what is kept: %w", err)
	}
	began := time.Now()
	var all []result
	failed := false
	for i, n := range o.nights {
		s := &stage{night: n, book: b, seed: o.seed, dir: filepath.Join(dir, n.name), progress: progress}
		s.rng = rand.New(rand.NewPCG(o.seed, uint64(len(n.name))))
		if err := o.once(ctx, i, s, out); err != nil {
			return err
		}
		all = append(all, s.result)
		failed = failed || s.result.Failed != ""
	}
	if err := o.report(ctx, out, began, all); err != nil {
		return err
	}
	if failed {
		return errFailed
	}
	return nil
}

// once goes through one night. The error is an interruption, or of the laboratory.
func (o options) once(ctx context.Context, i int, s *stage, out io.Writer) error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return fmt.Errorf("make the night's directory: %w", err)
	}
	fmt.Fprintf(s.progress, "night %d of %d: %s: %s\n", i+1, len(o.nights), s.name, s.about)
	began := time.Now()
	err := s.play(ctx, o.binary)
	s.result.Night, s.result.Took = s.name, time.Since(began)
	if ctx.Err() != nil {
		return errors.Join(errors.New("interrupted"), err)
	}
	if err != nil {
		s.result.Failed = err.Error()
		fmt.Fprintf(out, "%s: FAILED after %s: %v\n  logs, commands and history: %s\n  again: scripts/lab.sh nights --seed %d --nights %s\n",
			s.name, s.result.Took.Round(time.Second), err, s.dir, o.seed, s.name)
		return writeJSON(filepath.Join(s.dir, "result.json"), s.result)
	}
	fmt.Fprintf(out, "%s: passed: %d acknowledged, %d lost as said; %s; %s\n",
		s.name, s.result.Acknowledged, s.result.Lost, strings.Join(s.result.Checked, "; "), s.result.Took.Round(time.Second))
	if o.keep {
		return writeJSON(filepath.Join(s.dir, "result.json"), s.result)
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	_ = os.Remove(filepath.Dir(s.dir)) // stays if another night's is in it
	return nil
}

// report is the table of the page.
func (o options) report(ctx context.Context, out io.Writer, began time.Time, all []result) error {
	where, err := bench.Machine(ctx)
	if err != nil {
		return err
	}
	facts := []string{where, fmt.Sprintf("usher %s, seed %d, begun %s", o.tree, o.seed, began.Format("2006-01-02 15:04 MST"))}
	t := bench.Table{Head: []string{"night", "verdict", "what happened and was seen", "acknowledged before", "lost, as was said", "took"}, Left: 3}
	for i, r := range all {
		verdict := "passed"
		if r.Failed != "" {
			verdict = "FAILED"
		}
		t.Rows = append(t.Rows, []string{r.Night, verdict, o.nights[i].about + ": " + strings.Join(r.Checked, "; "), fmt.Sprint(r.Acknowledged), fmt.Sprint(r.Lost), r.Took.Round(time.Second).String()})
	}
	fmt.Fprintln(out)
	return o.output.Write(out, facts, []bench.Table{t})
}

func writeJSON(name string, v any) error {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	if err := os.WriteFile(name, text, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

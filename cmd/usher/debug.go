package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"
)

func (p *program) debugCommand() *cli.Command {
	return &cli.Command{
		Name: "debug", Usage: "gather what helps to find a fault into one file",
		Description: "Writes a compressed archive with this node's version, configuration, examination (as usher doctor), status, nodes, engines, settings, tasks, the newest audit lines, metrics, the last lines of its log, goroutines, memory and a CPU profile; without a running agent, what configuration, data directory and journal tell. " +
			"The pages about the agent itself are answered to an administrator on the node's own machine alone. Secrets are taken out, and sessions, users and tokens are left out; names of nodes, documents and tasks and their addresses are in it. The file is readable to you alone: look through it before you send it.",
		Flags: append([]cli.Flag{
			text("output-file", "FILE", "where to write it; by default usher-debug-NODE-TIME.tar.gz in this directory"),
			among(withNumber(number("seconds", "how long to measure the CPU, 1 to 60"), 10), 1, 60),
			toggle("force", "replace the file if it is there"),
		}, configFlags("data-dir", "socket", "bind", "door", "advertise")...),
		Action: p.debug,
	}
}

// debugAnswer is what debug prints as JSON.
type debugAnswer struct {
	File    string        `json:"file"`
	Bytes   int64         `json:"bytes"`
	Parts   []debugPart   `json:"parts"`
	Missing []missingPart `json:"missing"`
	LeftOut []string      `json:"left_out"`
}

type debugPart struct {
	Name  string `json:"name"`
	Bytes int    `json:"bytes"`
	What  string `json:"what"`
}

type missingPart struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// leftOut is never in a bundle, whatever happens.
func leftOut() []string {
	return []string{
		"secrets: tokens, keys, passwords and the contents of secret files are replaced by (secret)",
		"sessions, their users and addresses, and the lines of the access log",
		"API tokens and join tokens; the audit names those that were made or revoked lately",
		"the contents of documents and of the data directory",
		"the environment and the command line of the agent",
	}
}

func (p *program) debug(c *cli.Context) error {
	if err := exactly(0).check(c); err != nil {
		return err
	}
	if path := c.String("output-file"); path != "" {
		if err := p.free(c, path); err != nil {
			return err
		}
	}
	ctx, cancel := p.untilSignal(c.Context)
	defer cancel()
	g := &progress{p: p}
	defer g.done()
	b, err := p.gather(ctx, c, g)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("usher-debug-%s-%s", b.node, p.now().UTC().Format("20060102-150405"))
	path := c.String("output-file")
	if path == "" {
		path = name + ".tar.gz"
	}
	g.say("writing %s", path)
	size, err := p.keep(c, b, name, path)
	if err != nil {
		return err
	}
	g.done()
	a := debugAnswer{File: path, Bytes: size, Parts: b.contents(), Missing: b.missing, LeftOut: leftOut()}
	return p.emit(c, a, func(o *printer) { o.debug(a) })
}

// free refuses a path where a file is, unless it may be replaced.
func (p *program) free(c *cli.Context, path string) error {
	_, err := os.Lstat(path)
	if err == nil && !c.Bool("force") {
		return failed("choose another --output-file, or replace it with --force", "%s is there already", path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at output file: %w", err)
	}
	return nil
}

// keep writes the bundle beside its place and puts it there when it is whole.
func (p *program) keep(c *cli.Context, b *bundle, name, path string) (size int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".usher-debug-*") // 0600
	if err != nil {
		return 0, fmt.Errorf("write bundle: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	err = b.write(f, name, p.now())
	if err == nil {
		err = f.Sync()
	}
	if info, statErr := f.Stat(); statErr == nil {
		size = info.Size()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return 0, fmt.Errorf("write bundle: %w", err)
	}
	if err = p.free(c, path); err != nil { // it may have come in the meantime
		return 0, err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return 0, fmt.Errorf("write bundle: %w", err)
	}
	return size, nil
}

func (o *printer) debug(a debugAnswer) {
	o.line("%s (%s)\n", a.File, bytesText(uint64(max(a.Bytes, 0)))) //nolint:gosec // not negative
	var rows [][]string
	for _, e := range a.Parts {
		rows = append(rows, []string{e.Name, bytesText(uint64(e.Bytes)), e.What}) //nolint:gosec // not negative
	}
	o.table([]string{"IN IT", "SIZE", "WHAT"}, rows)
	if len(a.Missing) > 0 {
		o.line("\nmissing:")
	}
	for _, m := range a.Missing {
		o.line("  %s: %s", m.Name, m.Why)
	}
	o.line("\nleft out:")
	for _, s := range a.LeftOut {
		o.line("  %s", s)
	}
	o.line("\nnext: look through it before you send it: tar -xOzf %s | less", shellQuote(a.File))
}

// gather asks for all parts, one after the other. What does not come is noted; only an
// interrupt, or an agent that does not let the caller in, ends it.
func (p *program) gather(ctx context.Context, c *cli.Context, g *progress) (*bundle, error) {
	g.say("examining the node")
	exam, err := p.examine(ctx, c)
	if err != nil {
		return nil, err
	}
	s := &collector{program: p, cli: c, ctx: ctx, progress: g, exam: exam}
	b := s.begin()
	if exam.Node == nil {
		s.alone(b)
	} else if err := s.byAgent(b); err != nil {
		return nil, err
	}
	return b, ctx.Err()
}

// debugBound is what a part may take that is not measured on purpose.
func debugBound(c *cli.Context) time.Duration { return c.Duration("timeout") }

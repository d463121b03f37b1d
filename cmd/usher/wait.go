package main

import (
	"bufio"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// progress shows people how far something is: one line that changes on a
// terminal, a line per change elsewhere. It writes to standard error, so that
// standard output stays the command's answer.
type progress struct {
	p    *program
	last string
}

func (g *progress) say(format string, args ...any) {
	text := printable(fmt.Sprintf(format, args...))
	if text == g.last {
		return
	}
	if g.p.terminal.err {
		fmt.Fprint(g.p.stderr, "\r\x1b[K"+text)
	} else {
		fmt.Fprintln(g.p.stderr, text)
	}
	g.last = text
}

// done ends the line that changes.
func (g *progress) done() {
	if g.last != "" && g.p.terminal.err {
		fmt.Fprintln(g.p.stderr)
	}
	g.last = ""
}

// until looks again and again until look says that it is over.
func (c *call) until(look func(*progress) (over bool, err error)) error {
	g := &progress{p: c.program}
	defer g.done()
	t := time.NewTicker(c.poll)
	defer t.Stop()
	for {
		over, err := look(g)
		if over || err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
}

// confirm asks before what cannot be taken back. Without a terminal nobody can
// answer, so the line must say --yes.
func (p *program) confirm(c *cli.Context, format string, args ...any) error {
	if c.Bool("yes") {
		return nil
	}
	question := printable(fmt.Sprintf(format, args...))
	if !p.terminal.in {
		return usage("say --yes if you mean it", "%s? nobody can be asked: standard input is no terminal", question)
	}
	fmt.Fprintf(p.stderr, "%s? [y/N] ", question)
	answer, err := bufio.NewReader(p.stdin).ReadString('\n')
	if a := strings.ToLower(strings.TrimSpace(answer)); err != nil || a != "y" && a != "yes" {
		return failed("", "not done")
	}
	return nil
}

func detach() cli.Flag { return toggle("detach", "do not wait until it is done") }

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/engine/builtin"
)

func (p *program) validateCommand() *cli.Command {
	return &cli.Command{
		Name: "validate", Usage: "check a configuration file, or a CSV document of the built-in engine", ArgsUsage: "FILE",
		Description: "A configuration is checked together with the defaults, without flags and environment: all that is wrong is printed at once.",
		Action:      p.validateRun,
	}
}

// validAnswer is what validate prints as JSON when nothing is wrong.
type validAnswer struct {
	File  string `json:"file"`
	Valid bool   `json:"valid"`
	Rows  *int   `json:"rows,omitempty"` // of a document
}

func (p *program) validateRun(c *cli.Context) error {
	if err := exactly(1).check(c); err != nil {
		return err
	}
	path := c.Args().First()
	answer := validAnswer{File: path, Valid: true}
	what := "configuration"
	if strings.EqualFold(filepath.Ext(path), ".csv") {
		ctx, cancel := p.untilSignal(c.Context)
		defer cancel()
		rows, err := checkDocument(ctx, path)
		if err != nil {
			return err
		}
		answer.Rows, what = &rows, fmt.Sprintf("document with %d rows", rows)
	} else if err := p.checkConfig(path); err != nil {
		return err
	}
	return p.emit(c, answer, func(o *printer) { o.line("%s: valid %s", path, what) })
}

func (p *program) checkConfig(path string) error {
	file, err := config.ReadFile(path)
	if err != nil {
		return unreadable(err)
	}
	_, _, err = merge(file, config.Defaults(p.facts))
	return err
}

// maxDocument is the built-in engine's own default.
const maxDocument = 256 << 20

func checkDocument(ctx context.Context, path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("read document: %w", err)
	}
	defer f.Close()
	t, err := builtin.Load(ctx, f, maxDocument)
	var bad *builtin.CSVError
	switch {
	case errors.As(err, &bad):
		return 0, failed("mend the file; the engine keeps the data it has until then", "%s: %w", path, err)
	case err != nil:
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return t.Rows, nil
}

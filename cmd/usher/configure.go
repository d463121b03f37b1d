package main

import (
	"errors"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/engine"
)

// configure makes the agent's configuration of flags, environment, file and
// defaults. It returns the configuration with its faults, for --print-config.
func (p *program) configure(c *cli.Context) (config.Config, config.Origins, error) {
	path := c.String("config")
	if path == "" {
		path, _ = p.env("USHER_CONFIG")
	}
	file := config.Layer{}
	if path != "" {
		var err error
		if file, err = config.ReadFile(path); err != nil {
			return config.Config{}, nil, unreadable(err)
		}
	}
	return merge(config.Flags(given(c)), config.Environment(p.env), file, config.Defaults(p.facts))
}

func unreadable(err error) error {
	var problems config.Problems
	if errors.As(err, &problems) {
		return err
	}
	return permanent("name a file that can be read with --config, or leave it out", "%w", err)
}

// given are the flags that stand on the line.
func given(c *cli.Context) map[string][]string {
	out := map[string][]string{}
	for _, f := range config.Fields() {
		switch {
		case !c.IsSet(f.Flag):
		case f.Switch():
			out[f.Flag] = []string{strconv.FormatBool(c.Bool(f.Flag))}
		case f.Many:
			out[f.Flag] = c.StringSlice(f.Flag)
		default:
			out[f.Flag] = []string{c.String(f.Flag)}
		}
	}
	return out
}

// merge is config.Merge with everything that is wrong with the result.
func merge(layers ...config.Layer) (config.Config, config.Origins, error) {
	cfg, origins, err := config.Merge(layers...)
	if err != nil {
		return cfg, origins, err
	}
	var problems config.Problems
	if err := cfg.Validate(); err != nil && !errors.As(err, &problems) {
		return cfg, origins, err
	}
	problems = append(problems, engineProblems(cfg)...).Locate(origins)
	if len(problems) > 0 {
		return cfg, origins, problems
	}
	return cfg, origins, nil
}

// engineProblems is the part that only package engine can check.
func engineProblems(cfg config.Config) config.Problems {
	var problems config.Problems
	if !cfg.HasEngines() {
		return nil
	}
	add := func(what, next string) {
		problems = append(problems, config.Problem{Key: "engines", What: what, Next: next})
	}
	seen := map[string]bool{}
	for _, text := range cfg.Engines {
		if text == "" || text == config.NoEngine {
			continue // Validate says what is wrong with it
		}
		e, err := engine.ParseFlag(text)
		switch {
		case err != nil:
			add(err.Error(), "write --engine http://127.0.0.1:3838, --engine NAME=URL or --engine none")
		case seen[e.Name]:
			add("two engines are called "+e.Name, "name them: --engine NAME=URL")
		}
		seen[e.Name] = true
	}
	return problems
}

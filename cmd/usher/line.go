package main

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/config"
)

// line is a command line taken apart.
type line struct {
	path   []*cli.Command // the command, from the root
	global []string       // flags of the program, as --name=value
	local  []string       // flags of the command
	args   []string
	help   bool
}

// argv is the line in the order that the flag parser needs.
func (l line) argv() []string {
	out := append([]string{"usher"}, l.global...)
	for _, c := range l.path {
		out = append(out, c.Name)
	}
	out = append(out, l.local...)
	if len(l.args) > 0 {
		out = append(append(out, "--"), l.args...)
	}
	return out
}

// arrange takes a command line apart. Flags may stand anywhere behind their
// command, those of the program anywhere at all; "--" ends them. Unknown commands
// and flags are usage errors that name what was probably meant.
func arrange(globals []cli.Flag, commands []*cli.Command, args []string) (line, error) {
	a := arranger{globals: globals, commands: commands, rest: args}
	for len(a.rest) > 0 {
		word := a.rest[0]
		a.rest = a.rest[1:]
		if word == "--" {
			a.args = append(a.args, a.rest...)
			break
		}
		step := a.word
		if strings.HasPrefix(word, "-") && word != "-" {
			step = a.flag
		}
		if err := step(word); err != nil {
			return line{}, err
		}
	}
	if len(a.path) == 0 {
		a.help = true
	}
	return a.line, nil
}

type arranger struct {
	line
	globals  []cli.Flag
	commands []*cli.Command // that may come next
	rest     []string
}

// word takes the name of a command or an argument.
func (a *arranger) word(word string) error {
	if len(a.commands) == 0 {
		a.args = append(a.args, word)
		return nil
	}
	if len(a.path) == 0 && word == "help" {
		a.help = true
		return nil
	}
	for _, c := range a.commands {
		if c.HasName(word) {
			a.path, a.commands = append(a.path, c), c.Subcommands
			return nil
		}
	}
	return unknownCommand(word, a.path, a.commands)
}

func (a *arranger) flag(word string) error {
	name, value, given := strings.Cut(strings.TrimLeft(word, "-"), "=")
	switch {
	case name == "help" || name == "h":
		a.help = true
		return nil
	case name == "version" && len(a.path) == 0:
		return a.word("version")
	}
	f, local := findFlag(a.flags(), name), true
	if f == nil {
		f, local = findFlag(a.globals, name), false
	}
	if f == nil {
		return a.unknownFlag(name, word)
	}
	full := "--" + f.Names()[0]
	if _, isBool := f.(*cli.BoolFlag); !isBool && !given {
		if len(a.rest) == 0 {
			return usage("write "+full+" VALUE", "%s needs a value", full)
		}
		value, a.rest, given = a.rest[0], a.rest[1:], true
	}
	if given {
		if err := checkValue(f, full, value); err != nil {
			return err
		}
		full += "=" + value
	}
	if local {
		a.local = append(a.local, full)
	} else {
		a.global = append(a.global, full)
	}
	return nil
}

// checkValue finds values that the flag parser cannot type.
func checkValue(f cli.Flag, name, value string) error {
	var err error
	next := ""
	switch f.(type) {
	case *cli.BoolFlag:
		_, err = strconv.ParseBool(value)
		next = "write " + name + " or " + name + "=false"
	case *cli.IntFlag:
		_, err = strconv.Atoi(value)
		next = "give a whole number"
	case *cli.DurationFlag:
		_, err = time.ParseDuration(value)
		next = "write it like 500ms, 30s or 1h30m"
	}
	if err != nil {
		return usage(next, "%s: %q cannot be used", name, value)
	}
	return nil
}

// flags are those of the command that was named last.
func (a *arranger) flags() []cli.Flag {
	if len(a.path) == 0 {
		return nil
	}
	return a.path[len(a.path)-1].Flags
}

func findFlag(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func (a *arranger) unknownFlag(name, word string) error {
	var names []string
	for _, f := range slices.Concat(a.flags(), a.globals) {
		names = append(names, f.Names()[0])
	}
	next := commandName(a.path) + " --help lists the flags"
	if best := config.Closest(name, names); best != "" {
		next = "did you mean --" + best + "?"
	} else if a.takesValue() {
		next = "a value that begins with - goes behind --, as in " + commandName(a.path) + " KEY -- " + word
	} else if len(a.path) == 0 {
		next = "write the command first: usher COMMAND --" + name
	}
	typed, _, _ := strings.Cut(word, "=")
	return usage(next, "%s has no flag %s", commandName(a.path), typed)
}

// takesValue reports whether what looks like a flag may be meant as the value of a
// setting.
func (a *arranger) takesValue() bool {
	return len(a.path) > 0 && strings.HasSuffix(a.path[len(a.path)-1].ArgsUsage, " VALUE")
}

func unknownCommand(word string, path, commands []*cli.Command) error {
	var names []string
	for _, c := range commands {
		names = append(names, c.Name)
	}
	next := commandName(path) + " --help lists the commands"
	if best := config.Closest(word, names); best != "" {
		next = "did you mean " + commandName(path) + " " + best + "?"
	}
	return usage(next, "%s has no command %q", commandName(path), word)
}

// missingCommand is what a group says when it stands alone.
func missingCommand(c *cli.Command) error {
	var names []string
	for _, sub := range c.Subcommands {
		names = append(names, sub.Name)
	}
	return usage("say which: "+strings.Join(names, ", "), "usher %s is a group of commands", c.Name)
}

func commandName(path []*cli.Command) string {
	name := "usher"
	for _, c := range path {
		name += " " + c.Name
	}
	return name
}

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

const about = `usher shows every session to its seat: it runs beside stateful session servers,
makes a cluster of them without a shared disk or a single point of failure, and
is a front door that takes every user to the server that holds the session.`

const helpWidth = 96

// helpText is the help of the command at path; of the program when path is empty.
func helpText(globals []cli.Flag, commands []*cli.Command, path []*cli.Command) string {
	h := &helper{}
	if len(path) == 0 {
		h.say(about)
		h.section("Usage")
		h.say("  usher COMMAND [flags] [arguments]")
		h.section("Commands")
		h.commands(commands)
		h.section("Flags of all commands")
		h.flags(globals)
		h.section("Exit codes")
		h.columns(exitCodes())
		h.section("More")
		h.say("  usher COMMAND --help    usher demo    https://github.com/ushercluster/usher")
		return h.b.String()
	}
	c := path[len(path)-1]
	h.say(commandName(path) + ": " + c.Usage)
	h.section("Usage")
	h.say("  " + synopsis(path))
	if c.Description != "" {
		h.section("Description")
		h.say(indent(wrap(c.Description, helpWidth-2), "  "))
	}
	if len(visible(c.Subcommands)) > 0 {
		h.section("Commands")
		h.commands(c.Subcommands)
	}
	if len(visibleFlags(c.Flags)) > 0 {
		h.section("Flags")
		h.flags(c.Flags)
	}
	h.say("\nFlags of all commands and exit codes: usher --help")
	return h.b.String()
}

// synopsis is how the command at path is written.
func synopsis(path []*cli.Command) string {
	c := path[len(path)-1]
	s := commandName(path)
	switch {
	case len(visible(c.Subcommands)) == 0:
	case len(c.Flags) > 0: // it does something by itself
		s += " [COMMAND]"
	default:
		s += " COMMAND"
	}
	if len(visibleFlags(c.Flags)) > 0 {
		s += " [flags]"
	}
	if c.ArgsUsage != "" {
		s += " " + c.ArgsUsage
	}
	return s
}

func exitCodes() [][2]string {
	return [][2]string{
		{fmt.Sprint(exitDone), "done"},
		{fmt.Sprint(exitFailed), "failed"},
		{fmt.Sprint(exitUsage), "the command line is wrong"},
		{fmt.Sprint(exitNoQuorum), "no quorum: too few servers are up to agree"},
		{fmt.Sprint(exitUnreachable), "no agent answered"},
		{fmt.Sprint(exitDenied), "the token is missing, malformed, wrong or not allowed to"},
		{fmt.Sprint(exitPermanent), "the configuration is wrong; starting again will not help"},
	}
}

type helper struct{ b strings.Builder }

func (h *helper) say(s string)     { h.b.WriteString(s + "\n") }
func (h *helper) section(s string) { h.b.WriteString("\n" + s + ":\n") }

func (h *helper) commands(all []*cli.Command) {
	var rows [][2]string
	for _, c := range visible(all) {
		rows = append(rows, [2]string{c.Name, c.Usage})
	}
	h.columns(rows)
}

func (h *helper) flags(all []cli.Flag) {
	var rows [][2]string
	for _, f := range visibleFlags(all) {
		name, help := flagHelp(f)
		rows = append(rows, [2]string{name, help})
	}
	h.columns(rows)
}

func (h *helper) columns(rows [][2]string) {
	width := 0
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	for _, r := range rows {
		pad := strings.Repeat(" ", width+4)
		h.say("  " + r[0] + strings.Repeat(" ", width-len(r[0])+2) + strings.TrimSpace(indent(wrap(r[1], helpWidth-width-4), pad)))
	}
}

// flagHelp is "--name VALUE" and what the flag does.
func flagHelp(f cli.Flag) (name, help string) {
	name = "--" + f.Names()[0]
	d, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return name, ""
	}
	help = d.GetUsage()
	if rest, quoted := strings.CutPrefix(help, "`"); quoted {
		value, usage, _ := strings.Cut(rest, "` ")
		name, help = name+" "+value, usage
	}
	if v := d.GetValue(); d.TakesValue() && v != "" && v != "0" && v != "0s" && v != "[]" {
		help += " (default " + v + ")"
	}
	return name, help
}

func visible(all []*cli.Command) []*cli.Command {
	return slices.DeleteFunc(slices.Clone(all), func(c *cli.Command) bool { return c.Hidden })
}

func visibleFlags(all []cli.Flag) []cli.Flag {
	return slices.DeleteFunc(slices.Clone(all), func(f cli.Flag) bool {
		v, ok := f.(cli.VisibleFlag)
		return ok && !v.IsVisible()
	})
}

// wrap breaks text into lines of at most width. Lines that begin with a blank, and
// line breaks, are kept.
func wrap(text string, width int) string {
	var out []string
	for paragraph := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(paragraph, " ") || paragraph == "" {
			out = append(out, paragraph)
			continue
		}
		line := ""
		for word := range strings.FieldsSeq(paragraph) {
			if line != "" && len(line)+1+len(word) > width {
				out, line = append(out, line), ""
			}
			if line != "" {
				line += " "
			}
			line += word
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func indent(text, by string) string {
	return by + strings.ReplaceAll(text, "\n", "\n"+by)
}

// missingArgument is the n-th word of a usage such as "NODE [REASON]".
func missingArgument(usage string, n int) string {
	words := strings.Fields(usage)
	if n >= len(words) {
		return "an argument"
	}
	word := strings.TrimSuffix(words[n], "...")
	if strings.HasPrefix(word, "[") {
		word = strings.Trim(word, "[]")
	}
	return word
}

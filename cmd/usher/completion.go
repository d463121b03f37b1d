package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

func (p *program) completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print a script that completes commands and flags in a shell", ArgsUsage: "bash|zsh|fish",
		Description: "For example:\n  source <(usher completion bash)\n  source <(usher completion zsh)\n  usher completion fish | source",
		Action: func(c *cli.Context) error {
			if err := exactly(1).check(c); err != nil {
				return err
			}
			words := completions(p.globals(), p.commands())
			var script string
			switch shell := c.Args().First(); shell {
			case "bash":
				script = bashScript(words)
			case "zsh":
				// zsh reads bash's completions; the words are the same.
				script = "autoload -U +X compinit && compinit -u\nautoload -U +X bashcompinit && bashcompinit\n" + bashScript(words)
			case "fish":
				script = fishScript(words)
			default:
				return usage("choose bash, zsh or fish", "there is no script for %q", shell)
			}
			_, err := io.WriteString(p.stdout, script)
			return err
		},
	}
}

// completion is what may follow a command: the names of its commands, or its flags.
type completion struct {
	path  []string // from the program's first command on
	next  []named
	flags []named
}

type named struct{ name, help string }

// completions goes through the tree, the program itself first.
func completions(globals []cli.Flag, commands []*cli.Command) []completion {
	root := completion{next: commandNames(commands), flags: flagNames(globals)}
	out := []completion{root}
	var walk func(path []string, all []*cli.Command)
	walk = func(path []string, all []*cli.Command) {
		for _, c := range visible(all) {
			here := append(path[:len(path):len(path)], c.Name)
			out = append(out, completion{path: here, next: commandNames(c.Subcommands), flags: flagNames(c.Flags)})
			walk(here, c.Subcommands)
		}
	}
	walk(nil, commands)
	return out
}

func commandNames(all []*cli.Command) []named {
	var out []named
	for _, c := range visible(all) {
		out = append(out, named{c.Name, c.Usage})
	}
	return out
}

func flagNames(all []cli.Flag) []named {
	var out []named
	for _, f := range visibleFlags(all) {
		_, help := flagHelp(f)
		out = append(out, named{"--" + f.Names()[0], help})
	}
	return out
}

func wordList(all ...named) string {
	var out []string
	for _, n := range all {
		out = append(out, n.name)
	}
	return strings.Join(out, " ")
}

// bashScript follows the words of the line down the tree. Behind anything that it
// does not know it offers files, bash's own default.
func bashScript(all []completion) string {
	var b strings.Builder
	b.WriteString("_usher() {\n  local path=\"\" word i\n  for ((i = 1; i < COMP_CWORD; i++)); do\n    word=\"${COMP_WORDS[i]}\"\n    case \"$path $word\" in\n")
	for _, c := range all[1:] {
		fmt.Fprintf(&b, "    %q) path=%q ;;\n", " "+strings.Join(c.path, " "), " "+strings.Join(c.path, " "))
	}
	b.WriteString("    esac\n  done\n  local words=\"\"\n  case \"$path\" in\n")
	for _, c := range all {
		path := ""
		if len(c.path) > 0 {
			path = " " + strings.Join(c.path, " ")
		}
		flags := append(slices.Clone(c.flags), named{name: "--help"})
		if len(c.path) > 0 {
			flags = append(flags, all[0].flags...)
		}
		fmt.Fprintf(&b, "  %q) words=%q ;;\n", path, strings.TrimSpace(wordList(c.next...)+" "+wordList(flags...)))
	}
	b.WriteString("  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\ncomplete -o default -F _usher usher\n")
	return b.String()
}

// fishScript tells fish which words make which others possible.
func fishScript(all []completion) string {
	var b strings.Builder
	for _, c := range all {
		condition := "__fish_use_subcommand"
		if len(c.path) > 0 {
			condition = "__fish_seen_subcommand_from " + strings.Join(c.path, "; and __fish_seen_subcommand_from ")
		}
		if len(c.path) > 0 && len(c.next) > 0 {
			condition += "; and not __fish_seen_subcommand_from " + wordList(c.next...)
		}
		for _, n := range c.next {
			fmt.Fprintf(&b, "complete -c usher -n '%s' -f -a %s -d %s\n", condition, n.name, fishQuote(n.help))
		}
		for _, f := range c.flags {
			where := fmt.Sprintf(" -n '%s'", condition)
			if len(c.path) == 0 {
				where = "" // flags of all commands
			}
			fmt.Fprintf(&b, "complete -c usher%s -l %s -d %s\n", where, strings.TrimPrefix(f.name, "--"), fishQuote(f.help))
		}
	}
	return b.String()
}

func fishQuote(s string) string {
	return "'" + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), "'", `\'`) + "'"
}

// shellQuote makes one word of s in any POSIX shell.
func shellQuote(s string) string {
	plain := s != "" && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_-./:@%+,=", r)
	}) < 0
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

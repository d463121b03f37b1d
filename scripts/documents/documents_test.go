// Package documents holds the handwritten documents to what there is: every usher
// command that they show exists with its flags, every setting and metric is known,
// every link leads somewhere.
package documents

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ushercluster/usher/fsm"
)

const root = "../.."

// handwritten are the documents that are checked; cli.md and metrics.md are generated.
var handwritten = []string{"docs/operations.md"}

func TestCommands(t *testing.T) {
	known := commandsOf(read(t, "docs/cli.md"))
	if len(known) < 30 {
		t.Fatalf("only %d commands were found in docs/cli.md", len(known))
	}
	for _, file := range handwritten {
		shown := commandLines(read(t, file))
		if len(shown) == 0 {
			t.Errorf("%s shows no command", file)
		}
		for _, line := range shown {
			if err := known.check(line); err != "" {
				t.Errorf("%s: usher %s: %s", file, line, err)
			}
		}
	}
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	known := commandsOf("## Flags of all commands\n| `--output FORMAT` | x |\n## usher node drain\n```\nusher node drain [flags] NODE\n```\n| `--detach` | x |\n## usher node list\n## usher status\n")
	for line, ok := range map[string]bool{
		"node drain n2 --detach":         true,
		"node drain --detach=true n2":    true,
		"status --output json":           true,
		"--output json status":           true,
		"node drain n2 --force":          false,
		"node drian n2":                  false,
		"node":                           false,
		"stats":                          false,
		"node list --detach":             false,
		"status --output json | jq --no": true,
	} {
		lines := commandLines("```\nsudo -u usher usher " + line + "\n```\n")
		if len(lines) != 1 {
			t.Errorf("%q: %d commands were found, want 1: %q", line, len(lines), lines)
			continue
		}
		if got := known.check(lines[0]); (got == "") != ok {
			t.Errorf("%q: %q", line, got)
		}
	}
}

func TestSettings(t *testing.T) {
	groups := map[string]bool{}
	for _, s := range fsm.Schema() {
		group, _, _ := strings.Cut(s.Key, ".")
		groups[group] = true
	}
	key := regexp.MustCompile("`([a-z]+)\\.([a-z_]+)`|setting (?:set|get|unset) ([a-z]+)\\.([a-z_]+)")
	for _, file := range handwritten {
		for _, m := range key.FindAllStringSubmatch(read(t, file), -1) {
			group, name := m[1]+m[3], m[2]+m[4]
			if !groups[group] || slices.Contains([]string{"md", "yaml", "json", "log", "sock", "id", "key", "crt"}, name) {
				continue // a file, or a key of the configuration
			}
			if _, ok := fsm.SchemaOf(group + "." + name); !ok {
				t.Errorf("%s: there is no setting %s.%s", file, group, name)
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	name := regexp.MustCompile(`usher_[a-z_]+`)
	known := name.FindAllString(read(t, "docs/metrics.md"), -1)
	for _, file := range handwritten {
		for _, m := range name.FindAllString(read(t, file), -1) {
			if !slices.Contains(known, m) {
				t.Errorf("%s: there is no metric %s", file, m)
			}
		}
	}
}

func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)]*)\)`)
	for _, file := range handwritten {
		text := read(t, file)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			switch {
			case strings.Contains(target, "://"):
			case target != "":
				if _, err := os.Stat(filepath.Join(root, filepath.Dir(file), target)); err != nil {
					t.Errorf("%s: %v", file, err)
				}
			case !anchors(text)[anchor]:
				t.Errorf("%s: there is no heading for #%s", file, anchor)
			}
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// commands are the commands of docs/cli.md with their flags; "" holds those of all.
type commands map[string]map[string]bool

var flagName = regexp.MustCompile("^\\| `(--[a-z-]+)")

func commandsOf(cli string) commands {
	all := commands{"": {"--help": true}}
	now := ""
	for line := range strings.Lines(cli) {
		if head, ok := strings.CutPrefix(line, "## "); ok {
			now, ok = strings.CutPrefix(strings.TrimSpace(head), "usher ")
			if !ok {
				now = ""
			} else {
				all[now] = map[string]bool{}
			}
		}
		if m := flagName.FindStringSubmatch(line); m != nil {
			all[now][m[1]] = true
		}
	}
	return all
}

// check says what is wrong with a command line without the program's name.
func (c commands) check(line string) string {
	var words, flags []string
	takes := false // the word is the value of a flag
	for _, w := range strings.Fields(line) {
		name, _, joined := strings.Cut(w, "=")
		switch {
		case strings.HasPrefix(w, "--"):
			flags = append(flags, name)
			takes = !joined && c[""][name] && name != "--help"
		case takes:
			takes = false
		default:
			words = append(words, w)
		}
	}
	for n := min(len(words), 2); n > 0; n-- {
		own, ok := c[strings.Join(words[:n], " ")]
		if !ok {
			continue
		}
		for _, f := range flags {
			if !own[f] && !c[""][f] {
				return "there is no flag " + f
			}
		}
		return ""
	}
	if len(words) > 0 && words[0] == "COMMAND" || len(words) == 0 && slices.Equal(flags, []string{"--help"}) {
		return ""
	}
	return "there is no such command; there are " + strings.Join(slices.Sorted(maps.Keys(c)), ", ")
}

var (
	span  = regexp.MustCompile("`([^`\n]+(?:\n[^`\n]+)?)`")
	shell = regexp.MustCompile(`^(?:\$ )?(?:sudo )?(?:-u usher )?usher ([-a-zA-Z].*)$`)
	ends  = regexp.MustCompile(` *(?:[|<>#;&].*)$`)
)

// commandLines are the usher commands in the blocks and code spans of a document, as
// far as the next pipe or redirection.
func commandLines(text string) []string {
	var found []string
	add := func(line string) {
		if m := shell.FindStringSubmatch(strings.Join(strings.Fields(line), " ")); m != nil {
			found = append(found, ends.ReplaceAllString(m[1], ""))
		}
	}
	for n, part := range strings.Split(text, "```") {
		if n%2 == 1 {
			for line := range strings.Lines(part) {
				add(line)
			}
			continue
		}
		for _, m := range span.FindAllStringSubmatch(part, -1) {
			add(m[1])
		}
	}
	return found
}

// anchors are the headings of a document as links name them.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	drop := regexp.MustCompile(`[^a-z0-9 -]`)
	for line := range strings.Lines(text) {
		if h := strings.TrimLeft(line, "#"); h != line {
			all[strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(strings.TrimSpace(h)), ""), " ", "-")] = true
		}
	}
	return all
}

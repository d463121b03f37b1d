package night

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// book is the commands that a page prints: lines of its code, and code in its text.
type book struct{ lines []string }

func readBook(path string) (book, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return book{}, fmt.Errorf("read the runbook: %w", err)
	}
	return bookOf(string(text)), nil
}

var inText = regexp.MustCompile("`([^`\n]+)`")

func bookOf(page string) book {
	var b book
	code := false
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			code = !code
		case code:
			line, _, _ = strings.Cut(line, " #")
			b.lines = append(b.lines, strings.TrimSpace(line))
		default:
			for _, m := range inText.FindAllStringSubmatch(line, -1) {
				b.lines = append(b.lines, m[1])
			}
		}
	}
	return b
}

// has is an error unless the page prints the line.
func (b book) has(line string) error {
	if slices.Contains(b.lines, line) {
		return nil
	}
	return fmt.Errorf("the runbook does not say %q", line)
}

// arguments are those of a line that begins with usher, without what the shell does behind
// it. Words of the page that stand for something are replaced.
func (b book) arguments(line string, means map[string]string) ([]string, error) {
	if err := b.has(line); err != nil {
		return nil, err
	}
	words := strings.Fields(line)
	if words[0] != "usher" {
		return nil, fmt.Errorf("%q is no command of usher", line)
	}
	var out []string
	for _, w := range words[1:] {
		if w == "|" || w == ">" {
			break
		}
		if m, ok := means[w]; ok {
			w = m
		}
		out = append(out, w)
	}
	return out, nil
}

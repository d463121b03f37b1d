package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Output is where a measurement goes: to people, as Markdown, or into a page.
type Output struct {
	Name     string // of the measurement, and of its part of the page
	Markdown bool
	Into     string // file whose part is replaced; "" is none
}

// Write prints the facts, one a line, then the tables.
func (o Output) Write(w io.Writer, facts []string, tables []Table) error {
	markdown := o.Markdown || o.Into != ""
	var b strings.Builder
	for _, f := range facts {
		if markdown {
			f = "- " + f
		}
		fmt.Fprintln(&b, f)
	}
	fmt.Fprintln(&b)
	for _, t := range tables {
		t.Print(&b, markdown)
	}
	if _, err := io.WriteString(w, b.String()); err != nil || o.Into == "" {
		return err
	}
	page, err := os.ReadFile(o.Into)
	if err != nil {
		return fmt.Errorf("read the page: %w", err)
	}
	text, err := replacePart(string(page), o.Name, b.String())
	if err != nil {
		return fmt.Errorf("%s: %w", o.Into, err)
	}
	if err := os.WriteFile(o.Into, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

var errNoPart = errors.New("the page lacks the lines that enclose this measurement")

// replacePart puts body between the lines <!-- NAME --> and <!-- end of NAME -->.
func replacePart(page, name, body string) (string, error) {
	begin, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->\n"
	before, rest, ok := strings.Cut(page, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", errNoPart
	}
	return before + begin + "\n" + strings.TrimRight(body, "\n") + "\n\n" + end + after, nil
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// The formats of --output.
const (
	formatTable = "table"
	formatJSON  = "json"
)

// emit prints v as JSON, or what people gets to print.
func (p *program) emit(c *cli.Context, v any, people func(*printer)) error {
	if c.String("output") == formatJSON {
		return p.emitJSON(v)
	}
	out := &printer{colour: p.colour()}
	people(out)
	if _, err := io.WriteString(p.stdout, out.b.String()); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func (p *program) emitJSON(v any) error {
	enc := json.NewEncoder(p.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// emitJSONLine is for streams: one value a line.
func (p *program) emitJSONLine(v any) error {
	enc := json.NewEncoder(p.stdout)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// colour is for terminals whose owner did not say no (https://no-color.org).
func (p *program) colour() bool {
	no, _ := p.env("NO_COLOR")
	kind, _ := p.env("TERM")
	return p.terminal.out && no == "" && kind != "dumb"
}

// printer collects what a command shows to people.
type printer struct {
	b      strings.Builder
	colour bool
}

func (o *printer) line(format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = printable(s)
		}
	}
	fmt.Fprintf(&o.b, format+"\n", args...)
}

// facts prints names and values in two columns; empty values are left out.
func (o *printer) facts(pairs ...string) {
	width := 0
	for i := 0; i < len(pairs); i += 2 {
		width = max(width, len(pairs[i]))
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(&o.b, "%-*s  %s\n", width, pairs[i], o.paint(printable(pairs[i+1])))
		}
	}
}

// table prints rows under a head. Cells are aligned by what is seen, so colours go
// on last.
func (o *printer) table(head []string, rows [][]string) {
	width := make([]int, len(head))
	all := append([][]string{head}, rows...)
	for _, row := range all {
		for i := range row {
			if row[i] = printable(row[i]); row[i] == "" {
				row[i] = "-"
			}
			width[i] = max(width[i], utf8.RuneCountInString(row[i]))
		}
	}
	for n, row := range all {
		for i, cell := range row {
			pad := ""
			if i < len(row)-1 {
				pad = strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2)
			}
			if n > 0 {
				cell = o.paint(cell)
			}
			o.b.WriteString(cell + pad)
		}
		o.b.WriteByte('\n')
	}
}

// printable keeps what others named from moving the cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

const (
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	plain  = "\x1b[0m"
)

// paint colours the words that say how something is.
func (o *printer) paint(word string) string {
	if !o.colour {
		return word
	}
	colour := ""
	switch word {
	case "alive", "active", "healthy", "valid", "succeeded", "yes":
		colour = green
	case "draining", "standby", "suspect", "unhealthy", "unknown", "left", "used up", "paused", "pending", "claimed", "started", "skipped":
		colour = yellow
	case "failed", "dead", "lost", "missed", "expired", "revoked", "no":
		colour = red
	default:
		return word
	}
	return colour + word + plain
}

// span is a duration in its two largest units.
func span(d time.Duration) string {
	d = max(d, 0)
	units := []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}}
	for i, u := range units {
		if d < u.size && u.size > time.Second {
			continue
		}
		text := fmt.Sprintf("%d%s", d/u.size, u.name)
		if i+1 < len(units) {
			if rest := d % u.size / units[i+1].size; rest > 0 {
				text += fmt.Sprintf("%d%s", rest, units[i+1].name)
			}
		}
		return text
	}
	return ""
}

// when says a time as people do: how long ago, or in how long; "" for never.
func (p *program) when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	d := p.now().Sub(t)
	if d < 0 {
		return "in " + span(-d)
	}
	return span(d) + " ago"
}

// bytesText is a size in binary units.
func bytesText(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

func percent(permille int) string { return fmt.Sprintf("%d%%", (permille+5)/10) }

// count is a number of things, in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

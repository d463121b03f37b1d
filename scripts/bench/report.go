package bench

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// ErrMissed means that everything was measured and a goal was not reached.
var ErrMissed = errors.New("a goal was missed")

// Goal is a number and what it has to be.
type Goal struct {
	Name    string
	Value   float64
	Limit   float64
	AtLeast bool   // else at most
	Unit    string // behind both numbers
	Note    string // for people: from what the number was made
	Skipped string // why it could not be judged; "" otherwise
}

// Verdict is reached, MISSED or skipped.
func (g Goal) Verdict() string {
	switch {
	case g.Skipped != "":
		return "skipped"
	case g.AtLeast && g.Value >= g.Limit, !g.AtLeast && g.Value <= g.Limit:
		return "reached"
	}
	return "MISSED" // also when the value is no number
}

// Judge is ErrMissed when one of the goals was.
func Judge(goals []Goal) error {
	for _, g := range goals {
		if g.Verdict() == "MISSED" {
			return ErrMissed
		}
	}
	return nil
}

// GoalTable shows goals with their verdicts.
func GoalTable(goals []Goal) Table {
	t := Table{Head: []string{"goal", "measured", "wanted", "verdict", ""}, Left: 1}
	for _, g := range goals {
		sign, measured, note := "<=", fmt.Sprintf("%.2f%s", g.Value, g.Unit), g.Note
		if g.AtLeast {
			sign = ">="
		}
		if g.Skipped != "" {
			measured, note = "-", g.Skipped
		}
		t.Rows = append(t.Rows, []string{g.Name, measured, fmt.Sprintf("%s %.2f%s", sign, g.Limit, g.Unit), g.Verdict(), note})
	}
	return t
}

// Table is rows of cells below a head. The first Left columns stand left, the rest
// right.
type Table struct {
	Head []string
	Left int
	Rows [][]string
}

// Print writes the table for a terminal, or as Markdown.
func (t Table) Print(w io.Writer, markdown bool) {
	widths := make([]int, len(t.Head))
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	if markdown {
		for i := range widths {
			widths[i] = max(widths[i], 3) // of the rule below the head
		}
	}
	t.line(w, t.Head, widths, markdown)
	if markdown {
		rule := make([]string, len(t.Head))
		for i := range rule {
			rule[i] = strings.Repeat("-", widths[i]-1) + ":"
			if i < t.Left {
				rule[i] = strings.Repeat("-", widths[i])
			}
		}
		t.line(w, rule, widths, markdown)
	}
	for _, row := range t.Rows {
		t.line(w, row, widths, markdown)
	}
	fmt.Fprintln(w)
}

func (t Table) line(w io.Writer, cells []string, widths []int, markdown bool) {
	padded := make([]string, len(cells))
	for i, cell := range cells {
		room := strings.Repeat(" ", max(widths[i]-utf8.RuneCountInString(cell), 0))
		padded[i] = room + cell
		if i < t.Left {
			padded[i] = cell + room
		}
	}
	if markdown {
		fmt.Fprintln(w, "| "+strings.Join(padded, " | ")+" |")
		return
	}
	fmt.Fprintln(w, strings.TrimRight(strings.Join(padded, "  "), " "))
}

package doctor

import "fmt"

// Verdict says how something is.
type Verdict string

// Verdicts. Failed is what keeps the node or its users from working, now or at the next
// start; a warning is what should not stay as it is.
const (
	OK      Verdict = "ok"
	Warning Verdict = "warning"
	Failed  Verdict = "failed"
	Skipped Verdict = "skipped"
)

// Line is the outcome of one check.
type Line struct {
	Check   string  `json:"check"` // what was looked at; unique among the lines of a node
	Verdict Verdict `json:"verdict"`
	Seen    string  `json:"seen"`           // what was found
	Next    string  `json:"next,omitempty"` // what to do; "" for what is well
}

func ok(check, format string, args ...any) Line {
	return Line{Check: check, Verdict: OK, Seen: fmt.Sprintf(format, args...)}
}

func skipped(check, why string) Line { return Line{Check: check, Verdict: Skipped, Seen: why} }

func (l Line) as(v Verdict, next string) Line {
	l.Verdict, l.Next = v, next
	return l
}

// judged is a line that is Failed or a Warning where one of the two conditions holds.
func judged(l Line, failed, warning bool, next string) Line {
	switch {
	case failed:
		return l.as(Failed, next)
	case warning:
		return l.as(Warning, next)
	}
	return l
}

// Tally counts the lines of each verdict.
func Tally(lines []Line) map[Verdict]int {
	out := map[Verdict]int{}
	for _, l := range lines {
		out[l.Verdict]++
	}
	return out
}

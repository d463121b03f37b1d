package placement

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/ushercluster/usher/agent/peer"
)

// Line says of one engine how it stands for a request.
type Line struct {
	Engine   peer.EngineID `json:"engine"`
	NodeName string        `json:"node_name"`
	Eligible bool          `json:"eligible"`
	Reason   Reason        `json:"reason,omitempty"` // why not
	Sessions int           `json:"sessions"`         // corrected by what this door opened
	Weight   int           `json:"weight"`
	Spare    int           `json:"spare_permille"` // free capacity
	Score    int64         `json:"score"`          // less is better
}

// Explain lists every engine: those that may take r first, best first, then the
// others with the reason. The choice itself samples, so the first line is the most
// likely one and not always the one taken.
func Explain(s Strategy, cs []Candidate, r Request) []Line {
	out := make([]Line, 0, len(cs))
	for _, c := range cs {
		ok, reason := Eligible(c, r)
		out = append(out, Line{
			Engine: c.Engine, NodeName: c.NodeName, Eligible: ok, Reason: reason,
			Sessions: c.Load.Sessions + c.Own, Weight: int(weight(c.Weight)),
			Spare: int(spare(c.Load)), Score: Score(s, c),
		})
	}
	slices.SortStableFunc(out, func(a, b Line) int {
		switch {
		case a.Eligible != b.Eligible && a.Eligible:
			return -1
		case a.Eligible != b.Eligible:
			return 1
		case a.Score != b.Score && a.Eligible:
			return int(max(-1, min(1, a.Score-b.Score)))
		}
		return strings.Compare(string(a.Engine), string(b.Engine))
	})
	return out
}

// WriteLines prints lines as a table for people.
func WriteLines(w io.Writer, lines []Line) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ENGINE\tNODE\tSESSIONS\tWEIGHT\tSPARE\tSCORE\tTAKES SESSIONS")
	for _, l := range lines {
		takes := "yes"
		if !l.Eligible {
			takes = "no: " + string(l.Reason)
		}
		fmt.Fprintf(tw, "%s\t%s\t%d\t%d\t%d.%d%%\t%d\t%s\n",
			l.Engine, l.NodeName, l.Sessions, l.Weight, l.Spare/10, l.Spare%10, l.Score, takes)
	}
	return tw.Flush()
}

package night

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// said is what a command said would be kept: all up to a revision. The zero value means
// that nothing is lost.
type said struct {
	Revision uint64
	AsOf     time.Time // of the last change that is kept, in whole seconds, cut off
}

var (
	recoverState  = regexp.MustCompile(`(?m)^its state is +revision (\d+) of (\S+) `)
	recoverLost   = regexp.MustCompile(`(?m)^What was acknowledged after revision (\d+), and came only to servers that are lost, is lost\.$`)
	snapshotState = regexp.MustCompile(`(?m)^revision +(\d+)$`)
	snapshotLast  = regexp.MustCompile(`(?m)^last change +(\S+) `)
	statusIndex   = regexp.MustCompile(`(?m)^index +(\d+)$`)
	joinCommand   = regexp.MustCompile(`(?m)^ *USHER_JOIN_TOKEN=(\S+) usher agent (.+)$`)
)

// saidByRecover reads what usher recover shows before it asks.
func saidByRecover(text string) (said, error) {
	s, err := saidAs(recoverState.FindStringSubmatch(text))
	if err != nil {
		return s, fmt.Errorf("usher recover: %w:\n%s", err, text)
	}
	if m := recoverLost.FindStringSubmatch(text); m == nil || m[1] != strconv.FormatUint(s.Revision, 10) {
		return s, fmt.Errorf("usher recover does not say from which revision on writes are lost:\n%s", text)
	}
	return s, nil
}

// saidByInspect reads what usher snapshot inspect and save print.
func saidByInspect(text string) (said, error) {
	r, at := snapshotState.FindStringSubmatch(text), snapshotLast.FindStringSubmatch(text)
	if r == nil || at == nil {
		return said{}, fmt.Errorf("usher snapshot does not say of when the file is:\n%s", text)
	}
	return saidAs([]string{"", r[1], at[1]})
}

func saidAs(m []string) (s said, err error) {
	if m == nil {
		return s, fmt.Errorf("it does not say of when the state is")
	}
	if s.Revision, err = strconv.ParseUint(m[1], 10, 64); err != nil {
		return s, err
	}
	s.AsOf, err = time.Parse(time.RFC3339, m[2])
	return s, err
}

// joining reads the command that a new machine is to run: its environment and arguments.
func joining(text string) (env, args []string, err error) {
	m := joinCommand.FindStringSubmatch(text)
	if m == nil {
		return nil, nil, fmt.Errorf("no command to join with is printed:\n%s", text)
	}
	return []string{"USHER_JOIN_TOKEN=" + m[1]}, strings.Fields(m[2]), nil
}

// cellsOf are the rows of a table that a command printed, from behind its head, whose first
// word is given, to the next empty line. Cells stand at least two blanks apart.
func cellsOf(text, first string) [][]string {
	var out [][]string
	in := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, first):
			in = true
		case in && strings.TrimSpace(line) == "":
			return out
		case in:
			out = append(out, apart.Split(strings.TrimSpace(line), -1))
		}
	}
	return out
}

var apart = regexp.MustCompile(` {2,}`)

package history

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Check reads the history and judges the run.
func Check(in Input) Report {
	ops, cut, err := ReadFile(in.Path)
	h := verdict{Verdict{Name: VerdictHistory, Checked: len(ops)}}
	if err != nil {
		h.violation(err.Error())
	}
	if cut {
		h.violation("the last line is not whole: the recorder was not closed")
	}
	r := Judge(ops, in)
	r.Verdicts = append([]Verdict{h.done(in)}, r.Verdicts...)
	return r
}

// Judge is Check on operations that were read already; it has no verdict on the file,
// and Input.Path is not looked at. The operations are not changed.
func Judge(ops []Op, in Input) Report {
	e := newEvidence(ops, in)
	r := Report{Counts: map[Kind]map[Outcome]int{}}
	for i := range ops {
		o := &ops[i]
		if o.Kind == Lost || o.Kind == Back {
			continue
		}
		if r.Counts[o.Kind] == nil {
			r.Counts[o.Kind] = map[Outcome]int{}
		}
		r.Counts[o.Kind][o.Outcome]++
	}
	requests, failures := e.requests()
	moves, figures := e.moves()
	for _, v := range []verdict{
		e.linearizability(), e.refusals(), e.acknowledged(), e.stale(), e.convergence(), e.hashes(),
		e.leaders(), e.occurrences(), e.attempts(), requests, moves,
	} {
		r.Verdicts = append(r.Verdicts, v.done(in))
	}
	r.Failures = failures
	r.Outages = e.outages()
	r.Figures = append(e.figures(), figures...)
	return r
}

// done closes a verdict.
func (v verdict) done(in Input) Verdict {
	v.Without = v.Checked == 0 && slices.Contains(in.Without, v.Name)
	if v.Checked == 0 && !v.Without && v.Violations == 0 {
		v.Evidence = append(v.Evidence, "there was nothing to check")
	}
	return v.Verdict
}

// evidence is a run, sorted for the checks.
type evidence struct {
	in        Input
	end       time.Duration    // of the last operation
	ops       []*Op            // without marks
	registers []*register      // by key
	sessions  [][]*Op          // each one's requests and messages, by begin
	sockets   map[string][]*Op // by session: the openings of its WebSockets, by begin
	losses    []Loss
}

func newEvidence(ops []Op, in Input) *evidence {
	e := &evidence{in: in, losses: in.Losses, sockets: map[string][]*Op{}}
	e.in.Limits = in.Limits.filled()
	if e.losses == nil {
		e.losses = lossesOf(ops)
	}
	keys, sessions := map[string][]*Op{}, map[string][]*Op{}
	for i := range ops {
		o := &ops[i]
		e.end = max(e.end, o.End)
		switch o.Kind {
		case Lost, Back:
			continue
		case Write, CompareAndSet, Read, StaleRead:
			keys[o.Key] = append(keys[o.Key], o)
		case Request, Message:
			sessions[o.Key] = append(sessions[o.Key], o)
		}
		e.ops = append(e.ops, o)
	}
	for _, k := range sortedKeys(keys) {
		e.registers = append(e.registers, newRegister(k, keys[k], in.Nodes))
	}
	for _, k := range sortedKeys(sessions) {
		s := sessions[k]
		slices.SortStableFunc(s, func(a, b *Op) int { return compareTimes(a.Begin, b.Begin, a.End, b.End) })
		e.sessions = append(e.sessions, s)
		for _, o := range s {
			if o.Kind == Message && o.Outcome == OK && o.Detail == Opened {
				e.sockets[k] = append(e.sockets[k], o)
			}
		}
	}
	return e
}

func (l Limits) filled() Limits {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&l.Move, 2*time.Second)
	set(&l.MoveHung, 2*time.Second)
	set(&l.Detect, 2*time.Second)
	set(&l.Settle, 2*time.Second)
	set(&l.Solve, time.Minute)
	return l
}

// lossesOf reads the marks.
func lossesOf(ops []Op) []Loss {
	var out []Loss
	open := map[string]int{}
	for i := range ops {
		o := &ops[i]
		at, isOpen := open[o.Node]
		switch {
		case o.Kind == Lost && !isOpen:
			open[o.Node] = len(out)
			out = append(out, Loss{Node: o.Node, Kind: LossUnknown, At: o.Begin})
		case o.Kind == Back && isOpen:
			out[at].Back = o.Begin
			delete(open, o.Node)
		}
	}
	return out
}

// over is the end of a loss, of which there may be none.
func (l Loss) over() time.Duration {
	if l.Back == 0 {
		return maxTime
	}
	return l.Back
}

// overlaps reports whether [begin, end] has a moment in common with the loss and the
// time after it.
func (l Loss) overlaps(begin, end, after time.Duration) bool {
	return begin <= l.over()+after && end >= l.At
}

// is reports whether a loss is of one of the kinds; an unknown one may be any, one that was
// restarted was killed, too, and a shaky one is cut.
func (l Loss) is(kinds ...LossKind) bool {
	return l.Kind == LossUnknown || l.Kind == "" || slices.Contains(kinds, l.Kind) ||
		l.Kind == LossRestarted && slices.Contains(kinds, LossKilled) || l.Kind == LossStarved && slices.Contains(kinds, LossPaused) || l.Kind == LossShaky && slices.Contains(kinds, LossCut)
}

// beyond reports whether more nodes were lost at a time in [begin, end] than the cluster
// survives: of three one, of five two. Nothing is promised to users then. How many there
// are is not known where Input names none.
func (e *evidence) beyond(begin, end time.Duration) bool {
	lost := map[string]bool{}
	for _, l := range e.losses {
		if l.Kind != LossDrained && l.overlaps(begin, end, e.in.Limits.Settle) {
			lost[l.Node] = true
		}
	}
	n := len(e.in.Nodes)
	return n > 0 && len(lost) > (n-1)/2
}

// String says what was tried and how it ended, for people.
func (o *Op) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", o.Kind)
	for _, f := range []struct{ name, value string }{{"", o.Key}, {"=", o.Value}, {" at ", o.Node}, {" owned by ", o.Owner}} {
		switch {
		case f.value == "":
		case f.name == "":
			fmt.Fprintf(&b, " %s", f.value)
		default:
			fmt.Fprintf(&b, "%s%s", f.name, f.value)
		}
	}
	fmt.Fprintf(&b, " by %d from %.6f to %.6f s: %s", o.Client, o.Begin.Seconds(), o.End.Seconds(), o.Outcome)
	for _, f := range []struct {
		name  string
		value uint64
	}{{"expected", o.Expected}, {"revision", o.Revision}, {"index", o.Index}} {
		if f.value != 0 {
			fmt.Fprintf(&b, ", %s %d", f.name, f.value)
		}
	}
	if o.Detail != "" {
		fmt.Fprintf(&b, " (%s)", o.Detail)
	}
	return b.String()
}

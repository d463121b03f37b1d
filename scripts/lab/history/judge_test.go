package history

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

// at sets the interval of an operation, in milliseconds.
func (o Op) at(begin, end int) Op {
	o.Begin, o.End = time.Duration(begin)*ms, time.Duration(end)*ms
	return o
}

func (o Op) how(out Outcome, detail string) Op {
	o.Outcome, o.Detail = out, detail
	return o
}

func (o Op) by(client int) Op { o.Client = client; return o }

func (o Op) on(node string) Op { o.Node = node; return o }

func wrote(v string, rev uint64) Op {
	return Op{Kind: Write, Node: "n1", Key: "k", Value: v, Revision: rev, Index: rev, Outcome: OK}
}

// overtaken is a write whose answer showed a later row.
func overtaken(v string, later uint64) Op {
	return Op{Kind: Write, Node: "n1", Key: "k", Value: v, Index: later, Outcome: OK}
}

func swapped(v string, expected, rev uint64) Op {
	o := wrote(v, rev)
	o.Kind, o.Expected = CompareAndSet, expected
	return o
}

func saw(v string, rev uint64) Op {
	return Op{Kind: Read, Node: "n1", Key: "k", Value: v, Revision: rev, Index: rev, Outcome: OK}
}

func sawStale(v string, rev, index uint64) Op {
	return Op{Kind: StaleRead, Node: "n1", Key: "k", Value: v, Revision: rev, Index: index, Stale: true, Outcome: OK}
}

func node(name, value string, rev uint64) NodeState {
	return NodeState{Name: name, Revision: 100, Hash: "h", Settings: map[string]Setting{"k": {Value: value, Revision: rev}}}
}

// asked is a request of session s at a door, answered by the engine of a node that owned it.
func asked(s, door, owner string) Op {
	return Op{Kind: Request, Key: s, Node: door, Owner: owner, Value: owner, Outcome: OK}
}

func (o Op) failed() Op {
	o.Value, o.Outcome = "", Unknown
	return o
}

func (o Op) to(node string) Op { o.Value = node; return o }

// broken is a message whose WebSocket broke while nobody waited.
func broken(o Op) Op { o = o.failed().message(); o.Sent = o.End; return o }

func (o Op) message() Op { o.Kind = Message; return o }

var epoch = time.Date(2026, 1, 31, 6, 0, 0, 0, time.UTC)

func due(task string, seconds int) Occurrence {
	d := epoch.Add(time.Duration(seconds) * time.Second)
	return Occurrence{
		ID: task + "@" + d.Format(time.RFC3339Nano), Task: task, Due: d, State: "succeeded",
		Attempts: []AttemptState{{Number: 1, Node: "n1", Started: true, State: "succeeded"}},
	}
}

func (o Occurrence) is(state string) Occurrence { o.State = state; return o }

func (o Occurrence) manual() Occurrence { o.Manual = true; return o }

func count(o Occurrence, node, life string, started int64) Count {
	return Count{Node: node, Life: life, Task: o.Task, Due: o.Due, Attempt: 1, Started: started}
}

func killed(node string, at, back int) Loss {
	return Loss{Node: node, Kind: LossKilled, At: time.Duration(at) * ms, Back: time.Duration(back) * ms}
}

func lost(node string, kind LossKind, at, back int) Loss {
	l := killed(node, at, back)
	l.Kind = kind
	return l
}

// good is a run that passes every check, and gives each something to look at.
func good() ([]Op, Input) {
	a, b, hand := due("t", 0), due("t", 2), due("t", 1).manual()
	ops := []Op{
		wrote("a", 10).at(0, 5),
		saw("a", 10).at(6, 8),
		swapped("b", 10, 12).at(9, 12),
		swapped("x", 10, 0).how(Refused, Precondition).at(10, 14),
		sawStale("a", 10, 11).at(15, 16),
		sawStale("b", 12, 13).at(17, 18),
		{Kind: Task, Node: "n1", Key: "t", Value: hand.ID, Outcome: OK, End: 20 * ms},
		asked("1", "n1", "n2").at(0, 10),
		asked("1", "n1", "n2").at(20, 30),
	}
	return ops, Input{
		Nodes:       []NodeState{node("n1", "b", 12), node("n2", "b", 12)},
		Occurrences: []Occurrence{a, b, hand},
		Schedules:   []Schedule{{"t", 2 * time.Second}},
		Counts:      []Count{count(a, "n1", "1", 1), count(b, "n1", "1", 1), count(hand, "n1", "1", 1)},
		Leaders:     []Leader{{1, "n1"}, {2, "n2"}, {2, "n2"}},
		Losses:      []Loss{},
	}
}

func find(t *testing.T, r Report, name string) Verdict {
	t.Helper()
	i := slices.IndexFunc(r.Verdicts, func(v Verdict) bool { return v.Name == name })
	if i < 0 {
		t.Fatalf("there is no verdict %q", name)
	}
	return r.Verdicts[i]
}

func TestGoodRun(t *testing.T) {
	r := Judge(good())
	for _, name := range Verdicts()[1:] {
		if v := find(t, r, name); !v.Passed() || v.Excused != 0 {
			t.Errorf("%+v", v)
		}
	}
	if len(r.Failures) != 0 || r.Counts[Read][OK] != 1 || r.Counts[CompareAndSet][Refused] != 1 {
		t.Errorf("%+v", r)
	}
}

// A check that had nothing to look at does not pass, unless the run says so.
func TestNothingToCheck(t *testing.T) {
	for _, name := range Verdicts()[1:] {
		if v := find(t, Judge(nil, Input{}), name); v.Passed() || len(v.Evidence) != 1 {
			t.Errorf("passed by doing nothing: %+v", v)
		}
		if v := find(t, Judge(nil, Input{Without: []string{name}}), name); !v.Passed() {
			t.Errorf("the run is without: %+v", v)
		}
	}
	ops, in := good()
	in.Without = Verdicts()
	in.Leaders = append(in.Leaders, Leader{2, "n1"})
	if v := find(t, Judge(ops, in), VerdictLeaders); v.Passed() {
		t.Errorf("a violation is one also without: %+v", v)
	}
	if (Report{}).Passed() {
		t.Error("an empty report passed")
	}
}

// TestVerdicts adds to the good run and says what the verdict must be.
func TestVerdicts(t *testing.T) {
	two := due("t", 4)
	for _, tc := range []struct {
		name    string
		verdict string
		add     []Op
		change  func(*Input)
		why     string // in the evidence; "" when it passes
		excused int
	}{
		// Linearizability.
		{name: "a read goes back", verdict: VerdictLinearizability, add: []Op{saw("a", 10).at(20, 21)}, why: "shows the later row"},
		{name: "a read at the same time may show the old row", verdict: VerdictLinearizability, add: []Op{saw("a", 10).at(11, 30)}},
		{name: "a read of what nobody wrote", verdict: VerdictLinearizability, add: []Op{saw("z", 13).at(20, 21)}, why: "nobody wrote"},
		{name: "a read of a wrong revision", verdict: VerdictLinearizability, add: []Op{saw("b", 13).at(20, 21)}, why: "nobody wrote"},
		{name: "a read before the write", verdict: VerdictLinearizability, add: []Op{wrote("c", 14).at(30, 35), saw("c", 14).at(20, 21)}, why: "before it was written"},
		{name: "two writes with one revision", verdict: VerdictLinearizability, add: []Op{wrote("c", 12).at(9, 12)}, why: "one revision"},
		{name: "two swaps of one row", verdict: VerdictLinearizability, add: []Op{swapped("c", 10, 13).at(9, 30)}, why: "no more there"},
		{name: "a swap over a write in between", verdict: VerdictLinearizability, add: []Op{wrote("c", 11).at(7, 30)}, why: "no more there"},
		{name: "a write that is older than its answer", verdict: VerdictLinearizability, add: []Op{wrote("c", 11).at(20, 25), swapped("d", 12, 14).at(26, 27)}, why: "shows the later row"},
		{name: "of unknown outcome, seen later", verdict: VerdictLinearizability, add: []Op{wrote("c", 0).how(Unknown, "").at(20, 21), saw("c", 14).at(50, 51)}},
		{name: "of unknown outcome, seen before it began", verdict: VerdictLinearizability, add: []Op{saw("c", 14).at(20, 21), wrote("c", 0).how(Unknown, "").at(30, 31)}, why: "before it was written"},
		{name: "of unknown outcome, never seen", verdict: VerdictLinearizability, add: []Op{wrote("c", 0).how(Unknown, "").at(20, 21), saw("b", 12).at(50, 51)}},
		{name: "of unknown outcome, seen and gone", verdict: VerdictLinearizability,
			add: []Op{wrote("c", 0).how(Unknown, "").at(20, 21), saw("c", 14).at(30, 31), saw("b", 12).at(40, 41)}, why: "shows the later row"},
		{name: "a swap of unknown outcome over another row", verdict: VerdictLinearizability,
			add: []Op{swapped("c", 10, 0).how(Unknown, "").at(9, 21), saw("c", 14).at(30, 31)}, why: "no more there"},
		{name: "overtaken", verdict: VerdictLinearizability, add: []Op{overtaken("c", 14).at(20, 30), wrote("d", 14).at(21, 31), overtaken("e", 14).at(20, 30)}},
		{name: "overtaken by a write that began later", verdict: VerdictLinearizability, add: []Op{overtaken("c", 14).at(20, 22), wrote("d", 14).at(30, 31), saw("b", 12).at(25, 26)}, why: "shows the later row"},
		{name: "overtaken, and seen where it was", verdict: VerdictLinearizability,
			add: []Op{overtaken("c", 16).at(20, 40), saw("c", 14).at(25, 26), wrote("d", 16).at(30, 35)}},
		{name: "overtaken by a swap of the row after it", verdict: VerdictLinearizability, add: []Op{overtaken("c", 14).at(1, 30), swapped("d", 12, 14).at(21, 31)}},
		{name: "overtaken by a swap, and begun after the row that it changed", verdict: VerdictLinearizability,
			add: []Op{overtaken("c", 14).at(20, 30), swapped("d", 12, 14).at(21, 31)}, why: "shows the later row"},
		{name: "a swap that was overtaken", verdict: VerdictLinearizability,
			add: []Op{{Kind: CompareAndSet, Key: "k", Value: "c", Expected: 12, Index: 15, Outcome: OK, Begin: 20 * ms, End: 30 * ms}, wrote("d", 15).at(21, 31)}},
		{name: "a swap that was overtaken twice", verdict: VerdictLinearizability,
			add: []Op{{Kind: CompareAndSet, Key: "k", Value: "c", Expected: 12, Index: 16, Outcome: OK, Begin: 20 * ms, End: 40 * ms}, wrote("d", 14).at(21, 31), wrote("e", 16).at(21, 31)}},
		{name: "a swap that was overtaken by another of the same row", verdict: VerdictLinearizability,
			add: []Op{{Kind: CompareAndSet, Key: "k", Value: "c", Expected: 12, Index: 15, Outcome: OK, Begin: 20 * ms, End: 30 * ms}, swapped("d", 12, 15).at(21, 31)}, why: "no more there"},
		{name: "acknowledged without a revision", verdict: VerdictLinearizability, add: []Op{overtaken("c", 0).at(20, 21)}, why: "without a revision"},

		// Refusals.
		{name: "refused without cause", verdict: VerdictRefusals, add: []Op{swapped("x", 12, 0).how(Refused, Precondition).at(20, 21)}, why: "nobody had changed"},
		{name: "refused too early", verdict: VerdictRefusals, add: []Op{swapped("x", 12, 0).how(Refused, Precondition).at(20, 21), wrote("c", 14).at(22, 23)}, why: "nobody had changed"},
		{name: "refused for a write at the same time", verdict: VerdictRefusals, add: []Op{swapped("x", 12, 0).how(Refused, Precondition).at(20, 25), wrote("c", 14).at(22, 33)}},
		{name: "refused although the row was read later", verdict: VerdictRefusals,
			add: []Op{swapped("x", 12, 0).how(Refused, Precondition).at(20, 25), wrote("c", 14).at(22, 33), saw("b", 12).at(26, 33)}, why: "there still"},
		{name: "refused although the row was changed as expected later", verdict: VerdictRefusals,
			add: []Op{swapped("x", 12, 0).how(Refused, Precondition).at(20, 25), swapped("c", 12, 14).at(26, 33)}, why: "there still"},
		{name: "refused for a ghost, perhaps", verdict: VerdictRefusals, excused: 1,
			add: []Op{swapped("x", 12, 0).how(Refused, Precondition).at(20, 25), wrote("g", 0).how(Unknown, "").at(19, 33)}},
		{name: "a ghost that came too late", verdict: VerdictRefusals,
			add: []Op{swapped("x", 12, 0).how(Refused, Precondition).at(20, 25), wrote("g", 0).how(Unknown, "").at(26, 33)}, why: "nobody had changed"},
		{name: "refused for one that was overtaken", verdict: VerdictRefusals,
			add: []Op{swapped("x", 12, 0).how(Refused, Precondition).at(20, 25), overtaken("c", 16).at(22, 40), wrote("d", 14).at(26, 33), wrote("e", 16).at(34, 40)}},
		{name: "what was refused is read", verdict: VerdictRefusals, add: []Op{saw("x", 13).at(20, 21)}, why: "refused is there"},
		{name: "what was refused is at the end", verdict: VerdictRefusals, change: func(in *Input) { in.Nodes[1] = node("n2", "x", 13) }, why: "a node ended with it"},
		{name: "what was not sent is read stale", verdict: VerdictRefusals,
			add: []Op{wrote("y", 0).how(Refused, "not sent").at(20, 21), sawStale("y", 14, 14).at(30, 31)}, why: "refused is there"},

		// Acknowledged.
		{name: "the end is older", verdict: VerdictAcknowledged, change: func(in *Input) { in.Nodes[1] = node("n2", "a", 10) }, why: "later row was acknowledged"},
		{name: "the end is of nobody", verdict: VerdictAcknowledged, change: func(in *Input) { in.Nodes[0] = node("n1", "z", 14) }, why: "nobody wrote"},
		{name: "the end is another's", verdict: VerdictAcknowledged, change: func(in *Input) { in.Nodes[0] = node("n1", "z", 12) }, why: "another's"},
		{name: "the end lacks the key", verdict: VerdictAcknowledged, change: func(in *Input) { in.Nodes[0].Settings = nil }, why: "without it"},
		{name: "the end is of unknown outcome", verdict: VerdictAcknowledged, add: []Op{wrote("c", 0).how(Unknown, "").at(20, 21)},
			change: func(in *Input) { in.Nodes = []NodeState{node("n1", "c", 14)} }},
		{name: "one that was overtaken is lost with its successor", verdict: VerdictAcknowledged, add: []Op{overtaken("c", 14).at(20, 21)}, why: "later row was acknowledged"},

		// Stale reads.
		{name: "without label", verdict: VerdictStale, add: []Op{{Kind: StaleRead, Node: "n1", Key: "k", Value: "b", Revision: 12, Index: 14, Outcome: OK, Begin: 20 * ms, End: 21 * ms}}, why: "without its label"},
		{name: "a label on the wrong answer", verdict: VerdictStale, add: []Op{func() Op { o := saw("b", 12).at(20, 21); o.Stale = true; o.Index = 15; return o }()}, why: "answered as stale"},
		{name: "it goes back", verdict: VerdictStale, add: []Op{sawStale("a", 10, 11).at(30, 31)}, why: "went back"},
		{name: "it goes back behind a read that was not stale", verdict: VerdictStale,
			add: []Op{func() Op { o := saw("b", 12).at(20, 21); o.Index = 20; return o }(), sawStale("b", 12, 19).at(30, 31)}, why: "went back"},
		{name: "another node is behind", verdict: VerdictStale, add: []Op{sawStale("a", 10, 11).at(30, 31).on("n2")}},
		{name: "it goes back with a kill", verdict: VerdictStale, add: []Op{sawStale("a", 10, 11).at(30, 31)},
			change: func(in *Input) { in.Losses = []Loss{killed("n1", 20, 25)} }},
		{name: "it goes back again after the kill", verdict: VerdictStale, add: []Op{sawStale("b", 12, 13).at(27, 28), sawStale("a", 10, 11).at(30, 31)},
			change: func(in *Input) { in.Losses = []Loss{killed("n1", 20, 25)} }, why: "went back"},
		{name: "it goes back while it starts", verdict: VerdictStale, add: []Op{sawStale("a", 10, 11).at(22, 24)}, excused: 1,
			change: func(in *Input) { in.Losses = []Loss{killed("n1", 20, 25)} }},
		{name: "it goes back with a pause", verdict: VerdictStale, add: []Op{sawStale("a", 10, 11).at(30, 31)},
			change: func(in *Input) { in.Losses = []Loss{lost("n1", LossPaused, 20, 25)} }, why: "went back"},
		{name: "the future", verdict: VerdictStale, add: []Op{sawStale("c", 14, 14).at(20, 21), wrote("c", 14).at(30, 31)}, why: "the future"},
		{name: "another's value", verdict: VerdictStale, add: []Op{sawStale("z", 12, 14).at(20, 21)}, why: "another's value"},
		{name: "of nobody", verdict: VerdictStale, add: []Op{sawStale("z", 13, 14).at(20, 21)}, why: "nobody made"},
		{name: "from before the run", verdict: VerdictStale, add: []Op{sawStale("old", 3, 14).at(20, 21)}},
		{name: "a row beyond the state", verdict: VerdictStale, add: []Op{sawStale("b", 12, 11).at(17, 21)}, why: "later state than it says"},

		// The end.
		{name: "another revision", verdict: VerdictConvergence, change: func(in *Input) { in.Nodes[1].Revision++ }, why: "at 101"},
		{name: "another setting", verdict: VerdictConvergence, change: func(in *Input) { in.Nodes[1] = node("n2", "a", 10) }, why: "ended with"},
		{name: "a setting more", verdict: VerdictConvergence, change: func(in *Input) { in.Nodes[1].Settings["l"] = Setting{"v", 1} }, why: "2"},
		{name: "one node is no comparison", verdict: VerdictConvergence, change: func(in *Input) { in.Nodes = in.Nodes[:1] }, why: "nothing to check"},
		{name: "another hash", verdict: VerdictHashes, change: func(in *Input) { in.Nodes[1].Hash = "i" }, why: `"i"`},
		{name: "one without hash", verdict: VerdictHashes, change: func(in *Input) { in.Nodes[0].Hash = "" }, why: `""`},
		{name: "none with a hash", verdict: VerdictHashes, change: func(in *Input) { in.Nodes[0].Hash, in.Nodes[1].Hash = "", "" }, why: "nothing to check"},
		{name: "two leaders", verdict: VerdictLeaders, change: func(in *Input) { in.Leaders = append(in.Leaders, Leader{1, "n3"}) }, why: "term 1 has two leaders"},

		// Occurrences.
		{name: "two records", verdict: VerdictOccurrences, change: func(in *Input) { in.Occurrences = append(in.Occurrences, in.Occurrences[0]) }, why: "two records"},
		{name: "an open record", verdict: VerdictOccurrences, change: func(in *Input) { in.Occurrences = append(in.Occurrences, two.is("started")) }, why: "is started still"},
		{name: "every terminal state", verdict: VerdictOccurrences, change: func(in *Input) {
			for i, s := range []string{"failed", "lost", "missed", "skipped"} {
				in.Occurrences = append(in.Occurrences, due("t", 4+2*i).is(s))
			}
		}},
		{name: "a gap", verdict: VerdictOccurrences, change: func(in *Input) { in.Occurrences = append(in.Occurrences, due("t", 6)) }, why: "comes the one due"},
		{name: "one too many", verdict: VerdictOccurrences, change: func(in *Input) { in.Occurrences = append(in.Occurrences, due("t", 3)) }, why: "comes the one due"},
		{name: "a schedule without records", verdict: VerdictOccurrences, change: func(in *Input) { in.Schedules = append(in.Schedules, Schedule{"u", time.Second}) }, why: "has no records"},
		{name: "a run by hand is gone", verdict: VerdictOccurrences, change: func(in *Input) { in.Occurrences = in.Occurrences[:2] }, why: "has no record"},
		{name: "a run by hand became one of the schedule", verdict: VerdictOccurrences, change: func(in *Input) { in.Occurrences[2].Manual = false }, why: "has no record"},
		{name: "one record for two requests", verdict: VerdictOccurrences,
			add: []Op{{Kind: Task, Key: "t", Value: due("t", 1).ID, Outcome: OK}}, why: "two requests"},
		{name: "a run that nobody asked for", verdict: VerdictOccurrences, change: func(in *Input) { in.Occurrences = append(in.Occurrences, due("t", 5).manual()) }, why: "nobody asked"},
		{name: "a run that somebody may have asked for", verdict: VerdictOccurrences, add: []Op{{Kind: Task, Key: "t", Outcome: Unknown}},
			change: func(in *Input) { in.Occurrences = append(in.Occurrences, due("t", 5).manual()) }},
		{name: "a run that was refused", verdict: VerdictOccurrences, add: []Op{{Kind: Task, Key: "t", Outcome: Refused}},
			change: func(in *Input) { in.Occurrences = append(in.Occurrences, due("t", 5).manual()) }, why: "nobody asked"},

		// Attempts.
		{name: "started twice by one engine", verdict: VerdictAttempts, change: func(in *Input) { in.Counts[0].Started = 2 }, why: "started 2 times"},
		{name: "started by two engines", verdict: VerdictAttempts, change: func(in *Input) { in.Counts = append(in.Counts, count(due("t", 0), "n2", "1", 1)) }, why: "started 2 times"},
		{name: "started in two lives", verdict: VerdictAttempts, change: func(in *Input) { in.Counts = append(in.Counts, count(due("t", 0), "n1", "2", 1)) }, why: "started 2 times"},
		{name: "started without a record", verdict: VerdictAttempts, change: func(in *Input) { in.Counts = append(in.Counts, count(two, "n1", "1", 1)) }, why: "does not know"},
		{name: "started before the state had it", verdict: VerdictAttempts, change: func(in *Input) { in.Occurrences[0].Attempts[0].Started = false }, why: "does not know"},
		{name: "succeeded without a start", verdict: VerdictAttempts, change: func(in *Input) { in.Occurrences = append(in.Occurrences, two) }, why: "never began"},
		{name: "succeeded on a node that was killed", verdict: VerdictAttempts, excused: 1,
			change: func(in *Input) {
				in.Occurrences = append(in.Occurrences, two)
				in.Losses = []Loss{killed("n1", 1, 2)}
			}},
		{name: "succeeded on another node than was killed", verdict: VerdictAttempts,
			change: func(in *Input) {
				in.Occurrences = append(in.Occurrences, two)
				in.Losses = []Loss{killed("n2", 1, 2), lost("n1", LossPaused, 1, 2)}
			}, why: "never began"},
		{name: "engines that count nothing", verdict: VerdictAttempts, change: func(in *Input) { in.Counts = nil }, why: "nothing to check"},
	} {
		t.Run(tc.verdict+"/"+tc.name, func(t *testing.T) {
			ops, in := good()
			ops = append(ops, tc.add...)
			if len(tc.add) > 0 && tc.change == nil && tc.verdict != VerdictAcknowledged {
				in.Nodes[0].Settings, in.Nodes[1].Settings = map[string]Setting{}, map[string]Setting{} // not under test
			}
			if tc.change != nil {
				tc.change(&in)
			}
			expect(t, find(t, Judge(ops, in), tc.verdict), tc.why, tc.excused)
		})
	}
}

func expect(t *testing.T, v Verdict, why string, excused int) {
	t.Helper()
	switch {
	case why == "" && !v.Passed():
		t.Errorf("it should pass: %+v", v)
	case why != "" && v.Passed():
		t.Errorf("it should not pass: %+v", v)
	case why != "" && !strings.Contains(strings.Join(v.Evidence, "\n"), why):
		t.Errorf("the evidence does not say %q: %+v", why, v)
	case v.Excused != excused:
		t.Errorf("%d excused, not %d: %+v", v.Excused, excused, v)
	}
}

func message(key, door, owner string) Op {
	o := asked(key, door, owner)
	o.Kind = Message
	return o
}

func opened(key, door, owner string) Op {
	o := message(key, door, owner)
	o.Outcome, o.Value, o.Detail = OK, owner, Opened
	return o
}

func TestSessions(t *testing.T) {
	for _, tc := range []struct {
		name    string
		verdict string
		ops     []Op
		losses  []Loss
		why     string
		excused int
		five    bool // of five nodes, not three
	}{
		{name: "a failure", verdict: VerdictRequests, ops: []Op{asked("1", "n1", "n2").at(40, 50).failed()}, why: "request 1"},
		{name: "on the wire to the owner", verdict: VerdictRequests, excused: 1,
			ops: []Op{asked("1", "n1", "n2").at(40, 50).failed()}, losses: []Loss{killed("n2", 45, 0)}},
		{name: "on the wire to the door", verdict: VerdictRequests, excused: 1,
			ops: []Op{asked("1", "n1", "n2").at(40, 50).failed()}, losses: []Loss{killed("n1", 45, 0)}},
		{name: "another node was lost", verdict: VerdictRequests,
			ops: []Op{asked("1", "n1", "n2").at(40, 50).failed()}, losses: []Loss{killed("n3", 45, 0)}, why: "request 1"},
		{name: "it had failed before", verdict: VerdictRequests,
			ops: []Op{asked("1", "n1", "n2").at(40, 50).failed()}, losses: []Loss{killed("n2", 51, 0)}, why: "request 1"},
		{name: "long after the owner's death", verdict: VerdictRequests,
			ops: []Op{asked("1", "n1", "n2").at(400, 500).failed()}, losses: []Loss{killed("n2", 45, 0)}, why: "request 1"},
		{name: "long after the door's death", verdict: VerdictRequests, excused: 1,
			ops: []Op{asked("1", "n1", "n2").at(400, 500).failed()}, losses: []Loss{killed("n1", 45, 0)}},
		{name: "long after the door came back", verdict: VerdictRequests,
			ops: []Op{asked("1", "n1", "n2").at(4000, 4100).failed()}, losses: []Loss{killed("n1", 45, 1000)}, why: "request 1"},
		{name: "soon after the owner hung", verdict: VerdictRequests, excused: 1,
			ops: []Op{asked("1", "n1", "n2").at(400, 500).failed()}, losses: []Loss{lost("n2", LossPaused, 45, 0)}},
		{name: "long after the owner hung", verdict: VerdictRequests,
			ops: []Op{asked("1", "n1", "n2").at(2400, 2500).failed()}, losses: []Loss{lost("n2", LossPaused, 45, 0)}, why: "request 1"},
		{name: "a cut door, another's engine", verdict: VerdictRequests, excused: 1,
			ops: []Op{asked("1", "n1", "n2").at(400, 500).failed()}, losses: []Loss{lost("n1", LossCut, 45, 0)}},
		{name: "a cut door, its own engine", verdict: VerdictRequests,
			ops: []Op{asked("1", "n1", "n1").at(400, 500).failed()}, losses: []Loss{lost("n1", LossCut, 45, 0)}, why: "request 1"},
		{name: "while the owner is restarted", verdict: VerdictRequests, excused: 1,
			ops: []Op{asked("1", "n1", "n2").at(2400, 2500).failed()}, losses: []Loss{lost("n2", LossRestarted, 45, 3000)}},
		{name: "after the owner was restarted", verdict: VerdictRequests,
			ops: []Op{asked("1", "n1", "n2").at(3400, 3500).failed()}, losses: []Loss{lost("n2", LossRestarted, 45, 3000)}, why: "request 1"},
		{name: "a socket that was opened while its owner was not reached, and may lead through another", verdict: VerdictRequests, excused: 1,
			ops: []Op{opened("1", "n1", "n2").at(50, 60), message("1", "n1", "n2").at(5000, 5100).failed()}, losses: []Loss{killed("n2", 45, 1000), killed("n3", 5050, 0)}},
		{name: "a socket that was opened when all was well", verdict: VerdictRequests,
			ops: []Op{opened("1", "n1", "n2").at(10, 20), message("1", "n1", "n2").at(5000, 5100).failed()}, losses: []Loss{killed("n2", 45, 1000), killed("n3", 5050, 0)}, why: "message 1"},
		{name: "a drained owner", verdict: VerdictRequests,
			ops: []Op{asked("1", "n1", "n2").at(40, 50).failed()}, losses: []Loss{lost("n2", LossDrained, 45, 0)}, why: "request 1"},
		{name: "a socket of a drained owner", verdict: VerdictRequests, excused: 1,
			ops: []Op{asked("1", "n1", "n2").at(40, 50).failed().message()}, losses: []Loss{lost("n2", LossDrained, 45, 0)}},
		{name: "a socket that breaks", verdict: VerdictRequests, ops: []Op{asked("1", "n1", "n2").at(40, 50).failed().message()}, why: "message 1"},
		{name: "a newcomer at the moment of a loss", verdict: VerdictRequests, excused: 1,
			ops: []Op{asked("2", "n1", "").at(40, 50).failed()}, losses: []Loss{killed("n2", 45, 0)}},

		{name: "moved without a loss", verdict: VerdictMoves, ops: []Op{asked("1", "n1", "n2").to("n3").at(40, 50)}, why: "without a loss"},
		{name: "moved with its owner's loss", verdict: VerdictMoves, ops: []Op{asked("1", "n1", "n2").to("n3").at(40, 50)}, losses: []Loss{killed("n2", 35, 0)}},
		{name: "moved with another's loss", verdict: VerdictMoves, ops: []Op{asked("1", "n1", "n2").to("n3").at(40, 50)}, losses: []Loss{killed("n3", 35, 0)}, why: "without a loss"},
		{name: "moved by a door that was cut", verdict: VerdictMoves, ops: []Op{asked("1", "n1", "n2").to("n1").at(40, 50)}, losses: []Loss{lost("n1", LossCut, 35, 0)}},
		{name: "moved by a door that was drained", verdict: VerdictMoves, ops: []Op{asked("1", "n1", "n2").to("n3").at(40, 50)}, losses: []Loss{lost("n1", LossDrained, 35, 0)}, why: "without a loss"},
		{name: "moved from a drained node", verdict: VerdictMoves, ops: []Op{asked("1", "n1", "n2").to("n3").at(40, 50)}, losses: []Loss{lost("n2", LossDrained, 35, 0)}},
		{name: "moved long after the loss", verdict: VerdictMoves,
			ops:    []Op{asked("1", "n1", "n2").at(4000, 4100), asked("1", "n1", "n2").to("n3").at(4200, 4300)},
			losses: []Loss{killed("n2", 35, 100)}, why: "without a loss"},
		{name: "served again too late", verdict: VerdictMoves, ops: []Op{asked("1", "n1", "n2").to("n3").at(40, 2100)}, losses: []Loss{killed("n2", 35, 0)}, why: "served again after 2.06s"},
		{name: "served again too late after tries", verdict: VerdictMoves,
			ops:    []Op{asked("1", "n1", "n2").at(40, 60).failed(), asked("1", "n3", "n2").to("n3").at(2000, 2100)},
			losses: []Loss{killed("n2", 35, 0)}, why: "served again after 2.06s"},
		{name: "it asked when the node was back", verdict: VerdictMoves, ops: []Op{asked("1", "n1", "n2").at(200, 3100)},
			losses: []Loss{killed("n2", 35, 100), lost("n2", LossShaky, 150, 3000)}},
		{name: "it asked late", verdict: VerdictMoves, ops: []Op{asked("1", "n1", "n2").to("n3").at(4000, 4100)}, losses: []Loss{killed("n2", 35, 0)}},
		{name: "it waited at a dead door", verdict: VerdictMoves,
			ops:    []Op{asked("1", "n2", "n2").at(40, 60).failed(), asked("1", "n1", "n2").to("n3").at(3000, 3100)},
			losses: []Loss{killed("n2", 35, 0)}},
		{name: "it waited at a dead door in between", verdict: VerdictMoves,
			ops: []Op{
				asked("1", "n1", "n2").at(40, 60).failed(), asked("1", "n2", "n2").at(70, 3000).failed(), asked("1", "n1", "n2").to("n1").at(3000, 3100),
			},
			losses: []Loss{killed("n2", 35, 0)}},
		{name: "served by the dead when it was back", verdict: VerdictMoves,
			ops:    []Op{asked("1", "n1", "n2").at(40, 60).failed(), asked("1", "n2", "n2").at(70, 5000)},
			losses: []Loss{lost("n2", LossPaused, 35, 4900)}},
		{name: "a hung node has a limit of its own", verdict: VerdictMoves, ops: []Op{asked("1", "n1", "n2").to("n3").at(40, 2100)},
			losses: []Loss{lost("n2", LossPaused, 35, 0)}, why: "(paused) was served again after 2.06s"},
		{name: "a WebSocket that nobody used", verdict: VerdictMoves, ops: []Op{
			broken(asked("1", "n1", "n2").at(20, 4000)), asked("1", "n1", "n2").to("n3").at(4010, 4100),
		}, losses: []Loss{lost("n2", LossPaused, 35, 0)}},
		{name: "a shaky node is there", verdict: VerdictMoves, ops: []Op{asked("1", "n1", "n2").at(40, 4100)},
			losses: []Loss{lost("n2", LossShaky, 35, 5000)}},
		{name: "served late by a shaky node", verdict: VerdictMoves, ops: []Op{asked("1", "n1", "n2").to("n3").at(40, 2100)},
			losses: []Loss{lost("n2", LossCut, 35, 6000), lost("n3", LossShaky, 36, 6000)}, five: true},
		{name: "served too late by a shaky node", verdict: VerdictMoves, ops: []Op{asked("1", "n1", "n2").to("n3").at(40, 4100)},
			losses: []Loss{lost("n2", LossCut, 35, 6000), lost("n3", LossShaky, 36, 6000)}, why: "served again after 4.06s", five: true},
		{name: "it failed at a shaky node", verdict: VerdictMoves,
			ops:    []Op{asked("1", "n1", "n2").at(40, 1900).failed(), asked("1", "n1", "n2").to("n3").at(1910, 2100)},
			losses: []Loss{lost("n2", LossCut, 35, 6000), lost("n4", LossShaky, 36, 6000)}, five: true},
		{name: "served late, another node is shaky", verdict: VerdictMoves, ops: []Op{asked("1", "n1", "n2").to("n3").at(40, 2100)},
			losses: []Loss{lost("n2", LossCut, 35, 6000), lost("n4", LossShaky, 36, 6000)}, why: "served again after 2.06s", five: true},
		{name: "two of three are lost", verdict: VerdictMoves, ops: []Op{asked("1", "n1", "n2").to("n3").at(40, 2100)},
			losses: []Loss{lost("n2", LossPaused, 35, 0), lost("n3", LossCut, 36, 0)}},
		{name: "two of three are lost, while its owner lives", verdict: VerdictRequests, ops: []Op{asked("1", "n1", "n1").at(40, 60).failed()},
			losses: []Loss{lost("n2", LossPaused, 35, 0), lost("n3", LossCut, 36, 0)}, excused: 1},
		{name: "two of three are lost one after the other", verdict: VerdictRequests, ops: []Op{asked("1", "n1", "n1").at(9000, 9060).failed()},
			losses: []Loss{lost("n2", LossPaused, 35, 40), lost("n3", LossCut, 8000, 0)}, why: "9.06"},
		{name: "a shaky owner, at any time", verdict: VerdictRequests, ops: []Op{asked("1", "n1", "n2").at(5000, 5060).failed()},
			losses: []Loss{lost("n2", LossShaky, 35, 6000)}, excused: 1},
		{name: "its WebSocket, right after", verdict: VerdictRequests, ops: []Op{broken(asked("1", "n1", "n2").at(6100, 6160))},
			losses: []Loss{lost("n2", LossShaky, 35, 6000)}, excused: 1},
		{name: "its WebSocket, long after", verdict: VerdictRequests, ops: []Op{broken(asked("1", "n1", "n2").at(9000, 9060))},
			losses: []Loss{lost("n2", LossShaky, 35, 6000)}, why: "9.06"},
		{name: "moved to a shaky node", verdict: VerdictRequests, ops: []Op{asked("1", "n1", "n2").at(5000, 5060).failed()},
			losses: []Loss{lost("n2", LossCut, 35, 6000), lost("n3", LossShaky, 36, 6000)}, excused: 1},
		{name: "a node is shaky, and the owner is there", verdict: VerdictRequests, ops: []Op{asked("1", "n1", "n2").at(5000, 5060).failed()},
			losses: []Loss{lost("n2", LossCut, 35, 1000), lost("n3", LossShaky, 36, 6000)}, why: "5.06"},
		{name: "a shaky owner that is well again", verdict: VerdictRequests, ops: []Op{asked("1", "n1", "n2").at(9000, 9060).failed()},
			losses: []Loss{lost("n2", LossShaky, 35, 6000)}, why: "9.06"},
		{name: "never served again", verdict: VerdictMoves,
			ops:    []Op{asked("1", "n1", "n2").at(40, 60).failed(), asked("2", "n1", "n1").at(3000, 3100)},
			losses: []Loss{killed("n2", 35, 0)}, why: "never served again"},
		{name: "an answer without a name", verdict: VerdictMoves, ops: []Op{asked("1", "n1", "n2").to("").at(40, 50)}, why: "who answered"},
	} {
		t.Run(tc.verdict+"/"+tc.name, func(t *testing.T) {
			ops, in := good()
			in.Nodes = append(in.Nodes, NodeState{Name: "n3"})
			if tc.five {
				in.Nodes = append(in.Nodes, NodeState{Name: "n4"}, NodeState{Name: "n5"})
			}
			in.Losses = append(in.Losses, tc.losses...)
			r := Judge(append(ops, tc.ops...), in)
			expect(t, find(t, r, tc.verdict), tc.why, tc.excused)
			failed := 0
			for _, o := range tc.ops {
				if o.Outcome != OK {
					failed++
				}
			}
			if len(r.Failures) != failed {
				t.Errorf("%d failures are listed, not %d", len(r.Failures), failed)
			}
		})
	}
}

// Marks stand for losses that nobody described.
func TestMarks(t *testing.T) {
	ops, in := good()
	in.Losses = nil
	ops = append(ops,
		Op{Kind: Lost, Node: "n2", Begin: 45 * ms, End: 45 * ms},
		asked("1", "n1", "n2").at(40, 50).failed(),
		Op{Kind: Back, Node: "n2", Begin: 100 * ms, End: 100 * ms},
		asked("1", "n1", "n2").at(5000, 5100).failed(),
	)
	v := find(t, Judge(ops, in), VerdictRequests)
	if v.Excused != 1 || v.Violations != 1 {
		t.Errorf("%+v", v)
	}
}

func TestOutages(t *testing.T) {
	ops, in := good() // acknowledged at 5 and 12 ms
	ops = append(ops, wrote("c", 14).at(1000, 1700), wrote("d", 15).at(1700, 1750))
	in.Limits.Settle = 10 * ms
	in.Losses = []Loss{killed("n1", 100, 200), killed("n1", 1710, 1720), killed("n1", 1740, 0)}
	var got []time.Duration
	for _, o := range Judge(append(ops, saw("d", 15).at(1800, 1850)), in).Outages {
		got = append(got, o.Longest/ms)
	}
	if want := []time.Duration{1688, 50, 100}; !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}

package detection

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// tables are the one of recovery, then those with details.
func (m *measurement) tables() []bench.Table {
	var out []bench.Table
	if len(m.outages)+len(m.alarms) > 0 {
		out = append(out, m.recoveryTable())
	}
	if len(m.alarms) > 0 {
		out = append(out, m.alarmTable())
	}
	if len(m.loops) > 0 {
		out = append(out, m.loopTable())
	}
	return out
}

// recoveryTable has a line for each setting.
func (m *measurement) recoveryTable() bench.Table {
	t := bench.Table{Left: 2, Head: []string{"election timeout", "crash detection"}}
	for _, k := range lossKinds() {
		t.Head = append(t.Head, k.name+", ms")
	}
	t.Head = append(t.Head, "elections under quota", "with slow disks")
	for _, election := range m.timeouts {
		for _, detects := range []bool{true, false} {
			h := how{election, detects}
			row := []string{election.String(), onOff(detects)}
			for _, k := range lossKinds() {
				row = append(row, m.outageOf(h, k.name).cell())
			}
			for _, what := range []string{underQuota, slowDisks} {
				row = append(row, m.electionsUnder(h, what))
			}
			t.Rows = append(t.Rows, row)
		}
	}
	return t
}

func (m *measurement) outageOf(h how, what string) outage {
	for _, o := range m.outages {
		if o.how == h && o.what == what {
			return o
		}
	}
	return outage{}
}

func (m *measurement) electionsUnder(h how, what string) string {
	for _, a := range m.alarms {
		if a.how == h && a.what == what {
			return fmt.Sprint(a.elections)
		}
	}
	return "-"
}

// cell is median and worst.
func (o outage) cell() string {
	var parts []string
	if len(o.took) > 0 {
		parts = append(parts, milliseconds(bench.Median(o.took))+" / "+milliseconds(slices.Max(o.took)))
	}
	if o.never > 0 {
		parts = append(parts, fmt.Sprintf("%d over %s", o.never, patience))
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}

func (m *measurement) alarmTable() bench.Table {
	t := bench.Table{Left: 3, Head: []string{"false alarms", "election timeout", "crash detection", "seconds", "elections", "terms", "writes a second", "longest without a write, ms"}}
	for _, a := range m.alarms {
		t.Rows = append(t.Rows, []string{
			a.what, a.Election.String(), onOff(a.Detects), fmt.Sprintf("%.0f", a.lasted.Seconds()), fmt.Sprint(a.elections), fmt.Sprint(a.terms),
			fmt.Sprintf("%.0f", float64(a.acked)/a.lasted.Seconds()), milliseconds(a.gap),
		})
	}
	return t
}

func (m *measurement) loopTable() bench.Table {
	t := bench.Table{Left: 1, Head: []string{"killed again and again", "nodes", "kills", "elections", "by detection", "most within 10 s", "writes acknowledged", "longest without a write, ms"}}
	for _, l := range m.loops {
		t.Rows = append(t.Rows, []string{
			l.what, fmt.Sprint(l.nodes), fmt.Sprint(l.kills), fmt.Sprint(l.all), fmt.Sprint(l.detected), fmt.Sprint(l.most), fmt.Sprint(l.acked), milliseconds(l.gap),
		})
	}
	return t
}

// facts are what the figures depend on.
func (m *measurement) facts() []string {
	lines := []string{
		fmt.Sprintf("%d writers, at the nodes that are not lost; a try is given up after %s and made at another node; from the loss to the first acknowledged write that began after it: median / worst of %d", writers, bench.TryTimeout, m.repeats),
		fmt.Sprintf("false alarms: elections within %s in which nothing was lost, under %d writers; each agent with %d %% of one core, or each sync of all agents %s longer", m.stretch, alarmWriters, quotaPercent, slowSync),
		fmt.Sprintf("acknowledged: %d writes; outcome unknown: %d", m.acked, m.unknown),
	}
	for _, a := range m.alarms {
		if a.what == underQuota {
			lines = append(lines, fmt.Sprintf("quota, %s: %s", a.how, a.bites))
		}
	}
	for _, s := range m.skipped {
		lines = append(lines, "SKIPPED: "+s)
	}
	for _, w := range m.wrong {
		lines = append(lines, "WRONG: "+w)
	}
	return lines
}

// goals are about the agents' default.
func (m *measurement) goals() []bench.Goal {
	var out []bench.Goal
	for _, o := range m.outages {
		median, worst := 1200.0, 2500.0
		switch {
		case o.how != how{defaultElection, true} || o.what == "hung disk":
			continue
		case o.what == "killed":
			median, worst = 60, 250
		}
		took := append(slices.Repeat([]time.Duration{patience}, o.never), o.took...)
		note := fmt.Sprintf("of %d", len(took))
		name := "leader " + o.what + ", " + o.Election.String() + ", "
		out = append(out,
			bench.Goal{Name: name + "median", Unit: " ms", Value: inMilliseconds(bench.Median(took)), Limit: median, Note: note},
			bench.Goal{Name: name + "worst", Unit: " ms", Value: inMilliseconds(slices.Max(took)), Limit: worst, Note: note})
	}
	for _, l := range m.loops {
		out = append(out, bench.Goal{Name: "elections by detection within 10 s, killed: " + l.what, Value: float64(l.most), Limit: 1, Note: fmt.Sprintf("%d kills", l.kills)})
	}
	return append(out, bench.Goal{Name: "promises that were not kept", Value: float64(len(m.wrong)), Note: fmt.Sprintf("%d writes were acknowledged", m.acked)})
}

func inMilliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.0f", inMilliseconds(d)) }

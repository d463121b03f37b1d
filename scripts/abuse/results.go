package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// Limits of what an abuse may do.
const (
	mostRatio  = 2
	mostGrowth = 200 // MiB
)

// phase is what honest users and the agent did for a time.
type phase struct {
	Latencies latencies `json:"latencies"`
	RSS       uint64    `json:"rss_bytes"`  // the most that was seen
	AgentCPU  float64   `json:"agent_cpu"`  // in cores
	HonestCPU float64   `json:"honest_cpu"` // of the process of honest users
}

// result is one kind of abuse.
type result struct {
	Kind      kind          `json:"kind"`
	Alone     phase         `json:"alone"`
	During    phase         `json:"during"`
	After     phase         `json:"after"`
	Control   phase         `json:"control"`
	Begun     time.Duration `json:"begun_ns"`   // until all abusers had begun
	Lasted    time.Duration `json:"lasted_ns"`  // with that
	AbuserCPU float64       `json:"abuser_cpu"` // in cores
	Outcome   outcome       `json:"outcome"`
	Needed    int           `json:"needed"` // acts
}

// baseline is what the abuse is compared with: what is worse, the honest users alone or
// beside a process that takes the processor time of the abusers. The smaller one would
// charge the agent with what it has not done.
func (r result) baseline() time.Duration { return max(r.Alone.Latencies.P99, r.Control.Latencies.P99) }

// ratio is how much the 99th percentile rose; infinite or no number without a baseline, both
// of which break the limit.
func (r result) ratio() float64 { return float64(r.During.Latencies.P99) / float64(r.baseline()) }

// growth is the memory in MiB that came with the abuse, and stayed or went.
func (r result) growth() float64 {
	most := max(r.During.RSS, r.After.RSS)
	return (float64(most) - float64(r.Alone.RSS)) / (1 << 20)
}

func (r result) failed() int {
	return r.Alone.Latencies.Failed + r.During.Latencies.Failed + r.After.Latencies.Failed + r.Control.Latencies.Failed
}

// goals are the limits of one kind.
func (r result) goals() []bench.Goal {
	first := ""
	for _, p := range []phase{r.Alone, r.During, r.After, r.Control} {
		if first == "" {
			first = p.Latencies.Failure
		}
	}
	return []bench.Goal{
		{Name: r.Kind.Name + ": 99th percentile", Value: r.ratio(), Limit: mostRatio, Unit: "×", Note: fmt.Sprintf("%s, before %s", ms(r.During.Latencies.P99), ms(r.baseline()))},
		{Name: r.Kind.Name + ": memory", Value: r.growth(), Limit: mostGrowth, Unit: " MiB"},
		{Name: r.Kind.Name + ": honest requests that failed", Value: float64(r.failed()), Note: first},
		{Name: r.Kind.Name + ": took place", Value: float64(r.Outcome.Acts + r.Outcome.Refused), Limit: float64(r.Needed), AtLeast: true, Note: r.Kind.Act},
	}
}

// perSecond is how often the abusers did what they do.
func (r result) perSecond() float64 { return float64(r.Outcome.Acts) / max(r.Lasted.Seconds(), 0.001) }

func (r result) line() string {
	return fmt.Sprintf("p99 %s alone, %s abused, %s after, %s control: %.2f×; memory %+.0f MiB; %d %s, abusers took %.2f cores, the agent %.2f (alone %.2f); %s",
		ms(r.Alone.Latencies.P99), ms(r.During.Latencies.P99), ms(r.After.Latencies.P99), ms(r.Control.Latencies.P99), r.ratio(), r.growth(),
		r.Outcome.Acts, r.Kind.Act, r.AbuserCPU, r.During.AgentCPU, r.Alone.AgentCPU, r.Outcome.line())
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond)) }

// report is everything.
type report struct {
	Facts   []string `json:"facts"`
	Results []result `json:"results"`
}

func (p report) goals() []bench.Goal {
	var out []bench.Goal
	for _, r := range p.Results {
		out = append(out, r.goals()...)
	}
	return out
}

// tables are what honest users noticed, and what became of the abusers.
func (p report) tables() []bench.Table {
	users := bench.Table{Left: 1, Head: []string{"abuse", "p99 alone", "abused", "after", "control", "ratio", "p50 alone", "abused", "longest", "requests", "failed", "MiB", "grew"}}
	done := bench.Table{Left: 1, Head: []string{"abuse", "done", "a second", "most held", "abusers' cores", "agent's cores", "alone", "what became of them"}}
	for _, r := range p.Results {
		d := r.During.Latencies
		users.Rows = append(users.Rows, []string{
			r.Kind.Name, ms(r.Alone.Latencies.P99), ms(d.P99), ms(r.After.Latencies.P99), ms(r.Control.Latencies.P99), fmt.Sprintf("%.2f", r.ratio()),
			ms(r.Alone.Latencies.P50), ms(d.P50), ms(d.Max), fmt.Sprint(d.Requests), fmt.Sprint(r.failed()),
			fmt.Sprintf("%.0f", float64(r.Alone.RSS)/(1<<20)), fmt.Sprintf("%+.0f", r.growth()),
		})
		done.Rows = append(done.Rows, []string{
			r.Kind.Name, fmt.Sprintf("%d %s", r.Outcome.Acts, r.Kind.Act), fmt.Sprintf("%.0f", r.perSecond()), fmt.Sprint(r.Outcome.Most),
			fmt.Sprintf("%.2f", r.AbuserCPU), fmt.Sprintf("%.2f", r.During.AgentCPU), fmt.Sprintf("%.2f", r.Alone.AgentCPU), r.Outcome.line(),
		})
	}
	return []bench.Table{users, done, bench.GoalTable(p.goals())}
}

// write prints the report and judges.
func (o options) write(w io.Writer, p report) error {
	out := bench.Output{Name: "abuse", Into: o.into}
	if o.json {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		if err := enc.Encode(p); err != nil {
			return fmt.Errorf("print the report: %w", err)
		}
		w = io.Discard
	}
	if !o.json || o.into != "" {
		if err := out.Write(w, p.Facts, p.tables()); err != nil {
			return err
		}
	}
	return bench.Judge(p.goals())
}

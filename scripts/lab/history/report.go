package history

import (
	"slices"
	"time"
)

// Report is what Check found.
type Report struct {
	Verdicts []Verdict                `json:"verdicts"` // in the order of Verdicts
	Counts   map[Kind]map[Outcome]int `json:"counts"`
	Outages  []Outage                 `json:"outages"` // of writes, one for each loss
	Figures  []Figure                 `json:"figures"`
	Failures []Failure                `json:"failures"` // every request and message that failed, with its excuse
}

// Verdict is the result of one check.
type Verdict struct {
	Name       string   `json:"name"`
	Checked    int      `json:"checked"` // how many things were looked at
	Violations int      `json:"violations"`
	Excused    int      `json:"excused"`            // would be violations but for a fault, or cannot be decided
	Without    bool     `json:"without,omitempty"`  // the run has no evidence, and says so
	Evidence   []string `json:"evidence,omitempty"` // the smallest that shows the first violations
}

// Passed reports whether something was checked and nothing was wrong.
func (v Verdict) Passed() bool { return v.Violations == 0 && (v.Checked > 0 || v.Without) }

// Passed reports whether every verdict is there and passed.
func (r Report) Passed() bool {
	return len(r.Verdicts) == len(Verdicts()) && len(r.Failed()) == 0
}

// Failed are the verdicts that did not pass.
func (r Report) Failed() []Verdict {
	return slices.DeleteFunc(slices.Clone(r.Verdicts), Verdict.Passed)
}

// Outage is how long no write was acknowledged around a loss.
type Outage struct {
	Loss
	Longest time.Duration `json:"longest"` // between two acknowledgements, by any client
	From    time.Duration `json:"from"`    // when that began
}

// Figure is a number for the report.
type Figure struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
}

// Failure is a request or message of a session that failed.
type Failure struct {
	Op
	Excuse string `json:"excuse,omitempty"` // "": there is none
}

// maxEvidence bounds what a verdict shows.
const maxEvidence = 5

// verdict collects the result of one check.
type verdict struct{ Verdict }

func (v *verdict) violation(evidence string) {
	v.Violations++
	if len(v.Evidence) < maxEvidence {
		v.Evidence = append(v.Evidence, evidence)
	}
}

package history

import "time"

// Input is everything that Check judges. What is left empty is not judged, and its
// verdict fails for lack of evidence unless Without names it.
type Input struct {
	Path string // of the file that a Recorder wrote

	Nodes       []NodeState // as each answered after all was healed
	Occurrences []Occurrence
	Schedules   []Schedule
	Counts      []Count // of the engines: see load.Load.Counts
	Leaders     []Leader
	// Losses are what was done to nodes. Nil: the marks in the history say it, and are
	// taken for LossUnknown.
	Losses []Loss

	Limits Limits
	// Without names verdicts that this run has no evidence for, such as Occurrences in
	// a run without tasks.
	Without []string
}

// Names of verdicts, for Input.Without.
const (
	VerdictHistory         = "history"         // the file could be read
	VerdictLinearizability = "linearizability" // of settings, key by key
	VerdictRefusals        = "refusals"        // compare-and-set was refused with cause; what was refused never shows
	VerdictAcknowledged    = "acknowledged"    // acknowledged writes are there at the end
	VerdictStale           = "stale reads"     // labelled; true at some time; never back on one node
	VerdictConvergence     = "convergence"     // all nodes end with the same revision and the same settings
	VerdictHashes          = "hashes"          // and with the same hash of the whole state
	VerdictLeaders         = "leaders"         // one a term
	VerdictOccurrences     = "occurrences"     // each due time and each run by hand has one terminal record
	VerdictAttempts        = "attempts"        // none started twice; the engines' counters agree
	VerdictRequests        = "requests"        // none failed but those on the wire to a lost node
	VerdictMoves           = "moves"           // sessions move with a loss alone, and in time
)

// Verdicts are the names of all verdicts, in the order of the report.
func Verdicts() []string {
	return []string{
		VerdictHistory, VerdictLinearizability, VerdictRefusals, VerdictAcknowledged, VerdictStale,
		VerdictConvergence, VerdictHashes, VerdictLeaders, VerdictOccurrences, VerdictAttempts, VerdictRequests, VerdictMoves,
	}
}

// NodeState is what a node knew at the end, all of one revision.
type NodeState struct {
	Name     string             `json:"name"`
	Revision uint64             `json:"revision"`
	Hash     string             `json:"hash,omitempty"` // of the state; "" when it was not asked for
	Settings map[string]Setting `json:"settings"`
}

// Setting is a row as a node showed it; the revision is 0 when it was never set.
type Setting struct {
	Value    string `json:"value"`
	Revision uint64 `json:"revision"`
}

// Occurrence is the record of one due time.
type Occurrence struct {
	ID       string         `json:"id"` // TASK@DUE, as admin.Occurrence.ID
	Task     string         `json:"task"`
	Due      time.Time      `json:"due"`
	Manual   bool           `json:"manual,omitempty"`
	State    string         `json:"state"`
	Attempts []AttemptState `json:"attempts,omitempty"` // earlier ones first, the last one too
}

// AttemptState is one attempt as the state has it.
type AttemptState struct {
	Number  int    `json:"number"`
	Node    string `json:"node"` // its name
	Started bool   `json:"started"`
	State   string `json:"state"` // of the attempt
}

// Schedule is a task that ran at a fixed interval, with no change and no pause in it.
// All due times between its first and its last record must have records.
type Schedule struct {
	Task  string        `json:"task"`
	Every time.Duration `json:"every"`
}

// Count is how often an engine saw an attempt begin in one of its lives.
type Count struct {
	Node    string    `json:"node"`
	Life    string    `json:"life"` // which start of the node's engine: any text
	Task    string    `json:"task"`
	Due     time.Time `json:"due"`
	Attempt int       `json:"attempt"`
	Started int64     `json:"started"`
}

// Leader says that a node was seen as the leader of a term.
type Leader struct {
	Term uint64 `json:"term"`
	Node string `json:"node"`
}

// LossKind is how a node was lost, which decides what may fail.
type LossKind string

// Kinds of losses. A killed node's memory is gone. A paused one answers nobody and loses
// nothing. A cut one is still reached by clients, but not by some of the other nodes. A
// drained one gives its sessions away in order: they may move, and nothing may fail. A
// restarted one ends in order, which takes a while, or ends several times: what is on the wire
// to it may fail for as long as it is lost.
// A starved one answers late, and sends something now and then: doors take twice as long to be
// sure of it, and it may be there all the time.
// A shaky one is cut off again and again: connections to it break for as long as that lasts.
// An unknown loss excuses what any of them would.
const (
	LossKilled    LossKind = "killed"
	LossPaused    LossKind = "paused"
	LossCut       LossKind = "cut"
	LossShaky     LossKind = "shaky"
	LossStarved   LossKind = "starved"
	LossDrained   LossKind = "drained"
	LossRestarted LossKind = "restarted"
	LossUnknown   LossKind = "unknown"
)

// Loss is one node lost. At is not later than the first effect, Back not earlier than
// the last one: when the node had caught up and its engine was healthy again.
type Loss struct {
	Node string        `json:"node"`
	Kind LossKind      `json:"kind"`
	At   time.Duration `json:"at"`
	Back time.Duration `json:"back,omitempty"` // 0: not within this run
}

// Limits of what is allowed. Zero fields get their defaults.
type Limits struct {
	Move     time.Duration `json:"move,omitempty"`      // until the session of a killed node is served again: 2 s
	MoveHung time.Duration `json:"move_hung,omitempty"` // of a node that was paused or cut: 2 s
	Detect   time.Duration `json:"detect,omitempty"`    // how long after the loss of a node doors may still send to it: 2 s; 100 ms after a kill
	Settle   time.Duration `json:"settle,omitempty"`    // how long after Back a session may still move, or a request fail, for the loss: 2 s
	Solve    time.Duration `json:"solve,omitempty"`     // for the linearizability of one key: 60 s
}

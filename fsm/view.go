package fsm

import (
	"crypto/sha256"
	"encoding/hex"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/ushercluster/usher/agent/peer"
)

// View is the state at one revision: immutable, safe for concurrent use and to
// keep. Rows that it returns are shared and must not be changed.
type View struct {
	txn    *memdb.Txn
	log    journal
	rev    uint64
	now    Stamp
	chain  [32]byte
	newer  <-chan struct{}
	cached bool

	touched *touched
}

// Revision counts the commands that led to this state.
func (v View) Revision() uint64 { return v.rev }

// At is the leaders' clock at the last command.
func (v View) At() time.Time { return v.now.Time() }

// Cached reports whether the view was read from state.cache and holds a part of
// the tables only.
func (v View) Cached() bool { return v.cached }

// WithNewer is the view with another signal for when it is outdated: a cached view
// is outdated by the live state.
func (v View) WithNewer(newer <-chan struct{}) View {
	v.newer = newer
	return v
}

// Newer is closed when a newer view has been published.
func (v View) Newer() <-chan struct{} { return v.newer }

// Hash is equal on two replicas that applied the same commands.
func (v View) Hash() string {
	h := sha256.New()
	h.Write(v.chain[:])
	w := newRowWriter(h)
	for _, t := range tables() {
		for row := range v.rows(t) {
			w.row(t.number, row)
		}
	}
	if w.err != nil {
		panic(w.err) // encoding a row that was decoded here cannot fail
	}
	return hex.EncodeToString(h.Sum(nil))
}

// rows are those of a table, in the order of their keys.
func (v View) rows(t table) iter.Seq[any] {
	if t.key != nil {
		return each[any](v.txn, t.name)
	}
	return func(yield func(any) bool) {
		for row := range v.log.from(0) {
			if !yield(row) {
				return
			}
		}
	}
}

// Rows counts the rows of each table.
func (v View) Rows() map[string]int {
	out := map[string]int{}
	for _, t := range tables() {
		n := 0
		for range v.rows(t) {
			n++
		}
		out[t.name] = n
	}
	return out
}

// Cluster is the cluster's row; nil when there is no state yet.
func (v View) Cluster() *Cluster { return get[*Cluster](v.txn, tableCluster, "cluster") }

// Node returns a node, or nil.
func (v View) Node(id peer.ID) *Node { return get[*Node](v.txn, tableNodes, string(id)) }

// Nodes are all members, sorted by ID.
func (v View) Nodes() []*Node { return all[*Node](v.txn, tableNodes) }

// FindNode returns the node with the given name, ID, or unambiguous beginning of
// an ID of at least four characters; nil when there is none.
func (v View) FindNode(s string) *Node {
	if n := v.Node(peer.ID(s)); n != nil {
		return n
	}
	raw, err := v.txn.First(tableNodes, indexName, strings.ToLower(s))
	if err != nil {
		panic(err)
	}
	if n, ok := raw.(*Node); ok {
		return n
	}
	var found *Node
	for _, n := range v.Nodes() {
		if len(s) >= 4 && strings.HasPrefix(string(n.ID), s) {
			if found != nil {
				return nil
			}
			found = n
		}
	}
	return found
}

// Removed reports whether the node was removed from the cluster.
func (v View) Removed(id peer.ID) bool {
	return get[*Removed](v.txn, tableRemoved, string(id)) != nil
}

// RemovedNodes lists what was removed.
func (v View) RemovedNodes() []*Removed { return all[*Removed](v.txn, tableRemoved) }

// JoinToken returns a join token, or nil.
func (v View) JoinToken(id string) *JoinToken {
	return get[*JoinToken](v.txn, tableJoinTokens, id)
}

// JoinTokens are all join tokens.
func (v View) JoinTokens() []*JoinToken { return all[*JoinToken](v.txn, tableJoinTokens) }

// Token returns an API token, or nil.
func (v View) Token(id string) *Token { return get[*Token](v.txn, tableTokens, id) }

// Tokens are all API tokens.
func (v View) Tokens() []*Token { return all[*Token](v.txn, tableTokens) }

// DataKeys are all data keys, the newest last.
func (v View) DataKeys() []*DataKey { return all[*DataKey](v.txn, tableDataKeys) }

// Secret returns a sealed secret, or nil.
func (v View) Secret(name string) *Secret { return get[*Secret](v.txn, tableSecrets, name) }

// Secrets are all sealed secrets whose names begin with prefix.
func (v View) Secrets(prefix string) []*Secret {
	var out []*Secret
	for s := range each[*Secret](v.txn, tableSecrets) {
		if strings.HasPrefix(s.Name, prefix) {
			out = append(out, s)
		}
	}
	return out
}

// Task returns a task, or nil.
func (v View) Task(name string) *Task { return get[*Task](v.txn, tableTasks, name) }

// Tasks are all tasks, sorted by name.
func (v View) Tasks() []*Task { return all[*Task](v.txn, tableTasks) }

// Occurrence returns one occurrence, or nil.
func (v View) Occurrence(id OccurrenceID) *Occurrence {
	return get[*Occurrence](v.txn, tableOccurrences, dueKey(id.Task, id.Due))
}

// Occurrences are a task's occurrences, earliest due first.
func (v View) Occurrences(task string) []*Occurrence { return occurrencesOf(v.txn, task) }

// OpenOccurrences are those of all tasks that are not terminal.
func (v View) OpenOccurrences() []*Occurrence {
	return collect(scan[*Occurrence](v.txn, tableOccurrences, indexOpen+"_prefix", []byte(nil)))
}

// Audit goes through the audit rows, oldest first, from a revision on.
func (v View) Audit(from uint64) iter.Seq[*Audit] { return v.log.from(from) }

// AuditBefore goes through the audit rows below a revision, newest first.
func (v View) AuditBefore(rev uint64) iter.Seq[*Audit] { return v.log.before(rev) }

// SettingRow is the row of a setting that an operator set; nil means default.
func (v View) SettingRow(key string) *Setting {
	return get[*Setting](v.txn, tableSettings, key)
}

// SettingRows are all settings that operators set.
func (v View) SettingRows() []*Setting { return all[*Setting](v.txn, tableSettings) }

// Text is the value in force of a setting, in canonical text. A key that the
// schema does not know is a defect of the caller and panics.
func (v View) Text(key string) string {
	s, ok := SchemaOf(key)
	if !ok {
		panic("unknown setting " + key)
	}
	if row := v.SettingRow(key); row != nil {
		return row.Value
	}
	return s.Default
}

// Bool is a setting of type bool.
func (v View) Bool(key string) bool { return v.Text(key) == "true" }

// Int is a setting of type int or size.
func (v View) Int(key string) int64 {
	n, err := strconv.ParseInt(v.Text(key), 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// Duration is a setting of type duration.
func (v View) Duration(key string) time.Duration {
	d, err := time.ParseDuration(v.Text(key))
	if err != nil {
		panic(err)
	}
	return d
}

// List is a setting of type list or networks.
func (v View) List(key string) []string { return splitList(v.Text(key)) }

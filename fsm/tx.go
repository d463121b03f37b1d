package fsm

import (
	"strconv"
	"strings"

	"github.com/hashicorp/go-memdb"
)

// tx is what one command sees and changes while it is applied.
type tx struct {
	txn     *memdb.Txn
	rev     uint64
	now     Stamp
	actor   Actor
	evicted []Evicted
	last    *touched
}

// Evicted is a row that a bound pushed out of the state; one of the rows is set.
type Evicted struct {
	Revision   uint64 // of the command that pushed it out
	Audit      *Audit
	Occurrence *Occurrence
}

func (t *tx) evict(e Evicted) {
	e.Revision = t.rev
	t.evicted = append(t.evicted, e)
}

// fresh is the Meta of a row that this command makes.
func (t *tx) fresh() Meta { return Meta{Created: t.rev, Modified: t.rev} }

// changed is the Meta of a row that this command makes or changes.
func (t *tx) changed(old Meta) Meta {
	if old.Created == 0 {
		return t.fresh()
	}
	return Meta{Created: old.Created, Modified: t.rev}
}

// put stores a row. The table counts as changed when the row says that it was: a task's
// cursor, say, moves without that. It fails only by a defect of the schema, and then
// panics: to go on would let replicas differ.
func (t *tx) put(table string, row any) {
	if err := t.txn.Insert(table, row); err != nil {
		panic(err)
	}
	if r, ok := row.(interface{ changedAt() uint64 }); ok && r.changedAt() == t.rev {
		t.last.touch(table, t.rev)
	}
}

func (t *tx) del(table string, row any) {
	if err := t.txn.Delete(table, row); err != nil {
		panic(err)
	}
	t.last.touch(table, t.rev)
}

func (t *tx) cluster() *Cluster { return get[*Cluster](t.txn, tableCluster, "cluster") }

func (t *tx) nodeByName(name string) *Node {
	raw, err := t.txn.First(tableNodes, indexName, strings.ToLower(name))
	if err != nil {
		panic(err)
	}
	n, _ := raw.(*Node)
	return n
}

func (t *tx) occurrence(task string, due Stamp) *Occurrence {
	return get[*Occurrence](t.txn, tableOccurrences, dueKey(task, due))
}

// settingInt is the value in force of an integer setting.
func (t *tx) settingInt(key string) int {
	s, _ := SchemaOf(key)
	v := s.Default
	if row := get[*Setting](t.txn, tableSettings, key); row != nil {
		v = row.Value
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		panic("setting " + key + " is no integer: " + v)
	}
	return n
}

// match checks a compare-and-set condition; a zero Meta means that there is no row.
func match(m Match, meta Meta, what string) *Error {
	switch {
	case m == 0:
		return nil
	case m == Absent && meta.Modified != 0:
		return refuse(CodeConflict, "%s exists already", what)
	case m == Absent:
		return nil
	case meta.Modified == 0:
		return refuse(CodeNotFound, "%s is not there", what)
	case uint64(m) != meta.Modified:
		return refuse(CodeConflict, "%s was changed meanwhile: it is at revision %d, not %d; read it again", what, meta.Modified, uint64(m))
	}
	return nil
}

package fsm

import (
	"encoding/binary"
	"fmt"
	"iter"
	"strings"

	"github.com/hashicorp/go-memdb"
)

// Tables of the state. The order of tables() is the order in snapshots and in the
// hash.
const (
	tableCluster     = "cluster"
	tableSettings    = "settings"
	tableNodes       = "nodes"
	tableRemoved     = "removed"
	tableJoinTokens  = "join_tokens"
	tableTokens      = "tokens"
	tableDataKeys    = "data_keys"
	tableSecrets     = "secrets"
	tableTasks       = "tasks"
	tableOccurrences = "occurrences"
	tableAudit       = "audit"

	indexID   = "id"
	indexName = "name" // nodes by name
	indexOpen = "open" // occurrences that are not terminal
)

// table describes one table: its number in snapshots (append only), how its rows
// are made, and their key. cached tables go into state.cache too. A table without a key
// is the journal.
type table struct {
	name   string
	number byte
	make   func() any
	key    func(row any) []byte
	cached bool
}

func tables() []table {
	return []table{
		{tableCluster, 1, func() any { return new(Cluster) }, func(any) []byte { return []byte("cluster") }, true},
		{tableSettings, 2, func() any { return new(Setting) }, func(r any) []byte { return []byte(r.(*Setting).Key) }, true},
		{tableNodes, 3, func() any { return new(Node) }, func(r any) []byte { return []byte(r.(*Node).ID) }, true},
		{tableRemoved, 4, func() any { return new(Removed) }, func(r any) []byte { return []byte(r.(*Removed).ID) }, true},
		{tableJoinTokens, 5, func() any { return new(JoinToken) }, func(r any) []byte { return []byte(r.(*JoinToken).ID) }, false},
		{tableTokens, 6, func() any { return new(Token) }, func(r any) []byte { return []byte(r.(*Token).ID) }, true},
		{tableDataKeys, 7, func() any { return new(DataKey) }, func(r any) []byte { return bigEndian(r.(*DataKey).ID) }, true},
		{tableSecrets, 8, func() any { return new(Secret) }, func(r any) []byte { return []byte(r.(*Secret).Name) }, true},
		{tableTasks, 9, func() any { return new(Task) }, func(r any) []byte { return []byte(r.(*Task).Name) }, false},
		{tableOccurrences, 10, func() any { return new(Occurrence) }, func(r any) []byte { return occurrenceKey(r.(*Occurrence)) }, false},
		{tableAudit, 11, func() any { return new(Audit) }, nil, false},
	}
}

func schema() *memdb.DBSchema {
	s := &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{}}
	for _, t := range tables() {
		if t.key == nil {
			continue
		}
		s.Tables[t.name] = &memdb.TableSchema{Name: t.name, Indexes: map[string]*memdb.IndexSchema{
			indexID: {Name: indexID, Unique: true, Indexer: keyIndex{func(r any) ([]byte, bool) { return t.key(r), true }}},
		}}
	}
	s.Tables[tableNodes].Indexes[indexName] = &memdb.IndexSchema{
		Name: indexName, Unique: true,
		Indexer: keyIndex{func(r any) ([]byte, bool) { return []byte(strings.ToLower(r.(*Node).Name)), true }},
	}
	s.Tables[tableOccurrences].Indexes[indexOpen] = &memdb.IndexSchema{
		Name: indexOpen, Unique: true, AllowMissing: true,
		Indexer: keyIndex{func(r any) ([]byte, bool) {
			o := r.(*Occurrence)
			return occurrenceKey(o), !o.State.Terminal()
		}},
	}
	return s
}

// keyIndex indexes rows by a function. Look-ups give the key itself: a string, a
// number (big endian), or bytes; a look-up by prefix gives the beginning of it.
type keyIndex struct{ key func(row any) ([]byte, bool) }

// Every key ends in a zero byte, so that no key is the beginning of another;
// names cannot hold one. Fixed-width numbers need none, but it does no harm.
func terminated(b []byte) []byte { return append(b[:len(b):len(b)], 0) }

// FromObject implements memdb.SingleIndexer.
func (k keyIndex) FromObject(row any) (bool, []byte, error) {
	b, ok := k.key(row)
	if !ok {
		return false, nil, nil
	}
	return true, terminated(b), nil
}

// FromArgs implements memdb.Indexer.
func (k keyIndex) FromArgs(args ...any) ([]byte, error) {
	b, err := keyOf(args)
	return terminated(b), err
}

// PrefixFromArgs implements memdb.PrefixIndexer.
func (k keyIndex) PrefixFromArgs(args ...any) ([]byte, error) { return keyOf(args) }

func keyOf(args []any) ([]byte, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("look-up with %d keys", len(args))
	}
	switch v := args[0].(type) {
	case string:
		return []byte(v), nil
	case uint64:
		return bigEndian(v), nil
	case []byte:
		return v, nil
	}
	return nil, fmt.Errorf("look-up by %T", args[0])
}

func bigEndian(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func occurrenceKey(o *Occurrence) []byte { return dueKey(o.Task, o.Due) }

func dueKey(task string, due Stamp) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(task), 0), uint64(due))
}

// get returns the row with the key, or nil. A look-up of a table or index that
// does not exist is a defect of this package and panics.
func get[T any](txn *memdb.Txn, table string, key any) T {
	var zero T
	raw, err := txn.First(table, indexID, key)
	if err != nil {
		panic(err)
	}
	if raw == nil {
		return zero
	}
	return raw.(T)
}

// each goes through a table in the order of its keys. The table must not be
// changed meanwhile: use all for that.
func each[T any](txn *memdb.Txn, table string) iter.Seq[T] {
	return scan[T](txn, table, indexID+"_prefix", []byte(nil))
}

func scan[T any](txn *memdb.Txn, table, index string, key any) iter.Seq[T] {
	return func(yield func(T) bool) {
		it, err := txn.Get(table, index, key)
		if err != nil {
			panic(err)
		}
		for raw := it.Next(); raw != nil; raw = it.Next() {
			if !yield(raw.(T)) {
				return
			}
		}
	}
}

// all is each, collected.
func all[T any](txn *memdb.Txn, table string) []T {
	var out []T
	for r := range each[T](txn, table) {
		out = append(out, r)
	}
	return out
}

func count(txn *memdb.Txn, table string) int {
	n := 0
	for range each[any](txn, table) {
		n++
	}
	return n
}

func collect[T any](seq iter.Seq[T]) []T {
	var out []T
	for r := range seq {
		out = append(out, r)
	}
	return out
}

// occurrencesOf are a task's occurrences, earliest due first.
func occurrencesOf(txn *memdb.Txn, task string) []*Occurrence {
	return collect(scan[*Occurrence](txn, tableOccurrences, indexID+"_prefix", append([]byte(task), 0)))
}

// openOf are a task's occurrences that are not terminal, earliest due first.
func openOf(txn *memdb.Txn, task string) []*Occurrence {
	return collect(scan[*Occurrence](txn, tableOccurrences, indexOpen+"_prefix", append([]byte(task), 0)))
}

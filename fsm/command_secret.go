package fsm

import (
	"fmt"
	"slices"
	"strings"
)

// PutSecret stores a value that was sealed under a data key.
type PutSecret struct {
	Name   string
	KeyID  uint64
	Sealed []byte
	If     Match
}

func (*PutSecret) kind() Kind                { return KindPutSecret }
func (c *PutSecret) about() (string, string) { return c.Name, "" }

func (c *PutSecret) apply(t *tx) *Error {
	if c.Name == "" || len(c.Name) > MaxNameBytes || len(c.Sealed) == 0 {
		return refuse(CodeInvalid, "secret: name or value is malformed")
	}
	if get[*DataKey](t.txn, tableDataKeys, c.KeyID) == nil {
		return refuse(CodeNotFound, "there is no data key %d", c.KeyID)
	}
	old := get[*Secret](t.txn, tableSecrets, c.Name)
	var m Meta
	if old != nil {
		m = old.Meta
	}
	if err := match(c.If, m, "secret "+c.Name); err != nil {
		return err
	}
	t.put(tableSecrets, &Secret{Meta: t.changed(m), Name: c.Name, KeyID: c.KeyID, Sealed: c.Sealed, At: t.now})
	return nil
}

// PutDataKey adds a data key, or wraps a known one for more servers.
type PutDataKey struct {
	KeyID uint64
	Wraps []Wrap
}

func (*PutDataKey) kind() Kind                { return KindPutDataKey }
func (c *PutDataKey) about() (string, string) { return fmt.Sprint(c.KeyID), "" }

func (c *PutDataKey) apply(t *tx) *Error {
	if c.KeyID == 0 || len(c.Wraps) == 0 {
		return refuse(CodeInvalid, "a data key needs an ID and at least one copy")
	}
	for _, w := range c.Wraps {
		if get[*Node](t.txn, tableNodes, string(w.Node)) == nil {
			return t.noNode(string(w.Node))
		}
	}
	for _, w := range c.Wraps {
		t.putWrap(c.KeyID, w)
	}
	return nil
}

func (t *tx) putWrap(keyID uint64, w Wrap) {
	old := get[*DataKey](t.txn, tableDataKeys, keyID)
	row := DataKey{Meta: t.fresh(), ID: keyID}
	if old != nil {
		row = *old
		row.Modified = t.rev
	}
	row.Wraps = slices.DeleteFunc(slices.Clone(row.Wraps), func(x Wrap) bool { return x.Node == w.Node })
	row.Wraps = append(row.Wraps, w)
	slices.SortFunc(row.Wraps, func(a, b Wrap) int { return strings.Compare(string(a.Node), string(b.Node)) })
	t.put(tableDataKeys, &row)
}

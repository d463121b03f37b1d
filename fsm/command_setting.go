package fsm

import (
	"fmt"
	"strings"
)

// SetSetting gives a setting a value.
type SetSetting struct {
	Key   string
	Value string // any accepted spelling; stored in canonical form
	If    Match
}

func (*SetSetting) kind() Kind                { return KindSetSetting }
func (c *SetSetting) about() (string, string) { return c.Key, clip(c.Value, 256) }

func (c *SetSetting) apply(t *tx) *Error {
	old := get[*Setting](t.txn, tableSettings, c.Key)
	if err := match(c.If, metaOf(old), "setting "+c.Key); err != nil {
		return err
	}
	canon, err := canonical(c.Key, c.Value)
	if err != nil {
		return err
	}
	t.putSetting(old, c.Key, canon)
	return nil
}

// UnsetSetting brings the default back.
type UnsetSetting struct {
	Key string
	If  Match
}

func (*UnsetSetting) kind() Kind                { return KindUnsetSetting }
func (c *UnsetSetting) about() (string, string) { return c.Key, "default" }

func (c *UnsetSetting) apply(t *tx) *Error {
	if _, ok := SchemaOf(c.Key); !ok {
		return unknownSetting(c.Key)
	}
	old := get[*Setting](t.txn, tableSettings, c.Key)
	if err := match(c.If, metaOf(old), "setting "+c.Key); err != nil {
		return err
	}
	if old == nil {
		return nil // unset already
	}
	t.del(tableSettings, old)
	return nil
}

// ImportSettings sets several settings, all or none.
type ImportSettings struct {
	Pairs []Pair
	Reset bool // settings that are not named get their defaults back
}

// Pair is a setting and its value.
type Pair struct{ Key, Value string }

func (*ImportSettings) kind() Kind { return KindImportSettings }
func (c *ImportSettings) about() (string, string) {
	keys := make([]string, len(c.Pairs))
	for i, p := range c.Pairs {
		keys[i] = p.Key
	}
	return "settings", clip(fmt.Sprintf("%d: %s", len(keys), strings.Join(keys, ",")), 256)
}

func (c *ImportSettings) apply(t *tx) *Error {
	canon := make(map[string]string, len(c.Pairs))
	for _, p := range c.Pairs {
		v, err := canonical(p.Key, p.Value)
		if err != nil {
			return err
		}
		if _, twice := canon[p.Key]; twice {
			return refuse(CodeInvalid, "setting %q is named twice", p.Key)
		}
		canon[p.Key] = v
	}
	if c.Reset {
		for _, s := range all[*Setting](t.txn, tableSettings) {
			if _, named := canon[s.Key]; !named {
				t.del(tableSettings, s)
			}
		}
	}
	for _, p := range c.Pairs { // the given order, never map order
		old := get[*Setting](t.txn, tableSettings, p.Key)
		if old == nil || old.Value != canon[p.Key] {
			t.putSetting(old, p.Key, canon[p.Key])
		}
	}
	return nil
}

func (t *tx) putSetting(old *Setting, key, value string) {
	row := &Setting{Meta: t.changed(metaOf(old)), Key: key, Value: value, By: t.actor.String(), At: t.now}
	t.put(tableSettings, row)
}

func metaOf(s *Setting) Meta {
	if s == nil {
		return Meta{}
	}
	return s.Meta
}

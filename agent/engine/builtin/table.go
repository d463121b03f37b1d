package builtin

import "time"

// Table is a document in memory: columns of equal length. It is immutable.
type Table struct {
	Columns []Column
	Rows    int
	Bytes   int64     // of memory, about
	Loaded  time.Time // by the server's clock
}

// Column is one column of a table: scaled numbers, or codes into a dictionary of
// strings.
type Column struct {
	Name    string
	Numeric bool

	decimals int
	numbers  []int64  // if Numeric
	codes    []uint32 // else
	dict     []string // by code, in order of appearance
}

// Text returns the field of a row as text. Numbers are shown with the decimals
// of their column.
func (c *Column) Text(row int) string {
	if c.Numeric {
		return formatNumber(c.numbers[row], c.decimals)
	}
	return c.dict[c.codes[row]]
}

// Kind is "number" or "text".
func (c *Column) Kind() string {
	if c.Numeric {
		return "number"
	}
	return "text"
}

// column returns the named column.
func (t *Table) column(name string) (*Column, bool) {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i], true
		}
	}
	return nil, false
}

// memory estimates what the table holds.
func (t *Table) memory() int64 {
	n := int64(0)
	for i := range t.Columns {
		c := &t.Columns[i]
		n += int64(len(c.numbers))*8 + int64(len(c.codes))*4
		for _, s := range c.dict {
			n += int64(len(s)) + 16 // and its header
		}
	}
	return n
}

package builtin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// errChanged means that somebody wrote to the file while it was read.
var errChanged = errors.New("the file changed while it was read: is it still being written?")

// Load reads a CSV file into a table. It reads twice: first to check every
// record and learn what each column holds, then into memory of exactly the size
// that is needed. It stops when ctx ends. A malformed file is a *CSVError.
func Load(ctx context.Context, r io.ReadSeeker, limit int64) (*Table, error) {
	plan, rows, err := survey(ctx, r, limit)
	if err != nil {
		return nil, err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("rewind csv: %w", err)
	}
	rs, names, err := openRecords(r, limit)
	if err != nil {
		return nil, err
	}
	if len(names) != len(plan) {
		return nil, errChanged
	}
	b := newBuilder(names, plan, rows)
	if err := rs.each(ctx, b.add); err != nil {
		return nil, err
	}
	return b.table()
}

// fits is what the survey found a column to hold.
type fits struct {
	text  bool  // at least one field is no number
	any   bool  // at least one field is not empty
	shape shape // the widest of its numbers
}

func (f *fits) see(field string) {
	if f.text || field == "" {
		return
	}
	f.any = true
	s, ok := numberShape(field)
	f.shape.integers = max(f.shape.integers, s.integers)
	f.shape.decimals = max(f.shape.decimals, s.decimals)
	f.text = !ok || f.shape.integers+f.shape.decimals > maxDigits
}

func (f *fits) numeric() bool { return f.any && !f.text }

// survey is the first pass.
func survey(ctx context.Context, r io.Reader, limit int64) ([]fits, int, error) {
	rs, names, err := openRecords(r, limit)
	if err != nil {
		return nil, 0, err
	}
	plan := make([]fits, len(names))
	rows := 0
	err = rs.each(ctx, func(fields []string) error {
		rows++
		for i, f := range fields {
			plan[i].see(f)
		}
		return nil
	})
	return plan, rows, err
}

// builder fills a table in the second pass. Whatever differs from the survey is
// errChanged.
type builder struct {
	t     *Table
	rows  int
	codes []map[string]uint32 // by column; nil for numbers
}

func newBuilder(names []string, plan []fits, rows int) *builder {
	b := &builder{t: &Table{Columns: make([]Column, len(names))}, rows: rows, codes: make([]map[string]uint32, len(names))}
	for i, n := range names {
		c := &b.t.Columns[i]
		c.Name, c.Numeric = n, plan[i].numeric()
		if c.Numeric {
			c.decimals = plan[i].shape.decimals
			c.numbers = make([]int64, 0, rows)
		} else {
			c.codes = make([]uint32, 0, rows)
			b.codes[i] = make(map[string]uint32)
		}
	}
	return b
}

func (b *builder) add(fields []string) error {
	if b.t.Rows == b.rows {
		return errChanged
	}
	b.t.Rows++
	for i, f := range fields {
		c := &b.t.Columns[i]
		if !c.Numeric {
			c.codes = append(c.codes, b.code(i, f))
			continue
		}
		v := int64(noNumber)
		if f != "" {
			s, ok := numberShape(f)
			if !ok || s.decimals > c.decimals {
				return errChanged
			}
			var err error
			if v, err = scaleNumber(f, c.decimals); err != nil {
				return errChanged
			}
		}
		c.numbers = append(c.numbers, v)
	}
	return nil
}

func (b *builder) code(column int, s string) uint32 {
	code, ok := b.codes[column][s]
	if !ok {
		c := &b.t.Columns[column]
		s = strings.Clone(s) // s shares memory with its whole record
		code = uint32(len(c.dict))
		c.dict = append(c.dict, s)
		b.codes[column][s] = code
	}
	return code
}

func (b *builder) table() (*Table, error) {
	if b.t.Rows != b.rows {
		return nil, errChanged
	}
	b.t.Bytes = b.t.memory()
	return b.t, nil
}

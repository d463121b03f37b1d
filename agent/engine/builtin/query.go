package builtin

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Selections are the values chosen per column. A row passes if, for every
// column, its field is one of the values.
type Selections map[string][]string

// ErrNoColumn means that a query names a column that the document lacks.
var ErrNoColumn = errors.New("no such column")

// ErrNotNumeric means that a sum was asked over text.
var ErrNotNumeric = errors.New("not a column of numbers")

// Query is a question to a table.
type Query struct {
	Where  Selections
	Sums   []string // columns to sum over the rows that pass
	Offset int
	Limit  int // rows to return; 0 returns none, only the count and the sums
}

// Answer is what a query yields.
type Answer struct {
	Rows int                    // that passed, whatever Limit says
	Sums map[string]json.Number // exact, with the decimals of the column
	Data [][]string
}

// Query answers q. It reads the whole table and takes no lock.
func (t *Table) Query(q Query) (Answer, error) {
	tests, err := t.tests(q.Where)
	if err != nil {
		return Answer{}, err
	}
	type summed struct {
		column *Column
		total  total
	}
	sums := make([]summed, 0, len(q.Sums))
	for _, name := range q.Sums {
		c, ok := t.column(name)
		switch {
		case !ok:
			return Answer{}, fmt.Errorf("sum %q: %w", name, ErrNoColumn)
		case !c.Numeric:
			return Answer{}, fmt.Errorf("sum %q: %w", name, ErrNotNumeric)
		}
		sums = append(sums, summed{column: c})
	}
	ans := Answer{Sums: make(map[string]json.Number, len(sums)), Data: [][]string{}}
	for row := range t.Rows {
		if !passes(tests, row) {
			continue
		}
		if ans.Rows >= q.Offset && len(ans.Data) < q.Limit {
			ans.Data = append(ans.Data, t.row(row))
		}
		ans.Rows++
		for i := range sums {
			if v := sums[i].column.numbers[row]; v != noNumber {
				sums[i].total.add(v)
			}
		}
	}
	for i := range sums {
		ans.Sums[sums[i].column.Name] = json.Number(sums[i].total.format(sums[i].column.decimals))
	}
	return ans, nil
}

func (t *Table) row(row int) []string {
	out := make([]string, len(t.Columns))
	for i := range t.Columns {
		out[i] = t.Columns[i].Text(row)
	}
	return out
}

// test is one column's part of a filter, resolved to codes or numbers.
type test struct {
	column  *Column
	codes   []bool // by code
	numbers []int64
}

func (t *Table) tests(where Selections) ([]test, error) {
	out := make([]test, 0, len(where))
	for name, values := range where {
		c, ok := t.column(name)
		if !ok {
			return nil, fmt.Errorf("filter %q: %w", name, ErrNoColumn)
		}
		ts := test{column: c}
		if c.Numeric {
			ts.numbers = c.wanted(values)
		} else {
			ts.codes = make([]bool, len(c.dict))
			for code, s := range c.dict {
				ts.codes[code] = slices.Contains(values, s)
			}
		}
		out = append(out, ts)
	}
	return out, nil
}

// wanted turns values into scaled numbers; one that no row can have is left out.
func (c *Column) wanted(values []string) []int64 {
	var out []int64
	for _, v := range values {
		s, ok := numberShape(v)
		switch {
		case v == "":
			out = append(out, noNumber)
		case ok && s.decimals <= c.decimals && s.integers+c.decimals <= maxDigits:
			if n, err := scaleNumber(v, c.decimals); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}

func passes(tests []test, row int) bool {
	for i := range tests {
		ts := &tests[i]
		if ts.column.Numeric {
			if !slices.Contains(ts.numbers, ts.column.numbers[row]) {
				return false
			}
		} else if !ts.codes[ts.column.codes[row]] {
			return false
		}
	}
	return true
}

// numeric names the columns of numbers.
func (t *Table) numeric() []string {
	var out []string
	for i := range t.Columns {
		if t.Columns[i].Numeric {
			out = append(out, t.Columns[i].Name)
		}
	}
	return out
}

// parseFilter splits "column:value". A column's name may hold a colon itself, so
// the longest name that fits wins.
func (t *Table) parseFilter(s string) (column, value string, err error) {
	for i := range t.Columns {
		name := t.Columns[i].Name
		if rest, ok := strings.CutPrefix(s, name+":"); ok && len(name) > len(column) {
			column, value = name, rest
		}
	}
	if column == "" {
		return "", "", fmt.Errorf("filter %q: %w; write COLUMN:VALUE", s, ErrNoColumn)
	}
	return column, value, nil
}

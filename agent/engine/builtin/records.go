package builtin

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	maxRecord = 1 << 20 // bytes of one record: what an unclosed quote may swallow

	// checkEvery is how many rows are read between two looks at the context.
	checkEvery = 512
)

// records streams a CSV file record by record. The first is the header.
type records struct {
	csv     *csv.Reader
	raw     *meter
	columns int
}

// openRecords reads the header of r, which is UTF-8 with or without a byte order
// mark, at most limit bytes long.
func openRecords(r io.Reader, limit int64) (*records, []string, error) {
	raw := &meter{r: r, left: limit, limit: limit}
	br := bufio.NewReaderSize(raw, maxHeader)
	start, err := br.Peek(maxHeader)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, readError(err, 1)
	}
	if n := len(start); n > len(trimBOM(start)) {
		start = trimBOM(start)
		_, _ = br.Discard(n - len(start)) // peeked: it is there
	}
	if len(start) == 0 {
		return nil, nil, malformed(1, 1, "the file is empty: the first line must name the columns")
	}
	c := csv.NewReader(br)
	c.Comma = detectComma(start)
	c.FieldsPerRecord = -1 // checked here, with a better position
	c.ReuseRecord = true
	rs := &records{csv: c, raw: raw}
	raw.mark()
	fields, err := c.Read()
	if err != nil {
		return nil, nil, rs.fault(err)
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = strings.Clone(strings.TrimSpace(f))
	}
	rs.columns = len(names)
	return rs, names, checkHeader(names, c.FieldPos)
}

// each calls fn with every record after the header; the slice and its strings
// are valid until fn returns.
func (rs *records) each(ctx context.Context, fn func(fields []string) error) error {
	for row := 0; ; row++ {
		if row%checkEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rs.raw.mark()
		fields, err := rs.csv.Read()
		if errors.Is(err, io.EOF) {
			return rs.checkEnd()
		}
		if err != nil {
			return rs.fault(err)
		}
		if len(fields) != rs.columns {
			line, col := rs.csv.FieldPos(min(len(fields), rs.columns+1) - 1)
			return malformed(line, col, "%d fields where the header has %d columns", len(fields), rs.columns)
		}
		for i, f := range fields {
			if !utf8.ValidString(f) || strings.IndexByte(f, 0) >= 0 {
				line, col := rs.csv.FieldPos(i)
				return malformed(line, col, "the field is not UTF-8 text")
			}
		}
		if err := fn(fields); err != nil {
			return err
		}
	}
}

// checkEnd refuses a file whose last line is not ended. RFC 4180 would allow it,
// but nothing else tells "12" from the first half of "1234", and a sum that is
// silently wrong is worse than an error.
func (rs *records) checkEnd() error {
	if rs.raw.last == '\n' || rs.raw.last == '\r' {
		return nil
	}
	line, col := rs.csv.FieldPos(rs.columns - 1)
	return malformed(line, col, "the last line has no line break: the file may be half written; end it with one")
}

// fault turns an error of the CSV reader into one with a position.
func (rs *records) fault(err error) error {
	var pe *csv.ParseError
	switch {
	case errors.As(err, &pe) && errors.Is(pe.Err, csv.ErrQuote):
		return malformed(pe.Line, pe.Column, "a quote that is not closed, or followed by more text")
	case errors.As(err, &pe) && errors.Is(pe.Err, csv.ErrBareQuote):
		return malformed(pe.Line, pe.Column, "a quote within a field that does not begin with one")
	case errors.As(err, &pe):
		return malformed(pe.Line, max(pe.Column, 1), "%v", pe.Err)
	case errors.Is(err, io.EOF):
		return malformed(1, 1, "the file holds no line: the first one must name the columns")
	}
	line, _ := rs.csv.FieldPos(0)
	return readError(err, line)
}

// readError gives the meter's limits a position.
func readError(err error, line int) error {
	switch {
	case errors.Is(err, errTooLong):
		return malformed(line, 1, "this record or the next is longer than %d bytes: is a quote not closed?", maxRecord)
	case errors.Is(err, errTooBig):
		return fmt.Errorf("line %d: %w", line, err)
	}
	return fmt.Errorf("read csv: %w", err)
}

var (
	errTooLong = errors.New("record too long")
	errTooBig  = errors.New("the file is larger than is allowed")
)

// meter counts what is read, over all and since the last mark, and remembers the
// last byte.
type meter struct {
	r           io.Reader
	left, limit int64
	since       int64
	last        byte
}

// mark begins a new record. The buffers above read ahead, so records are
// measured a little generously.
func (m *meter) mark() { m.since = 0 }

func (m *meter) Read(p []byte) (int, error) {
	if m.since > maxRecord {
		return 0, errTooLong
	}
	n, err := m.r.Read(p)
	m.left -= int64(n)
	m.since += int64(n)
	if n > 0 {
		m.last = p[n-1]
	}
	if m.left < 0 {
		return 0, fmt.Errorf("%w: at most %d bytes", errTooBig, m.limit)
	}
	return n, err
}

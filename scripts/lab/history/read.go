package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	maxDetail = 300
	maxLine   = 16 << 10
	maxOps    = 8 << 20 // some two gigabytes in memory
)

// LineError is a line of a history that cannot be one.
type LineError struct {
	Line int // from 1
	Why  string
}

func (e *LineError) Error() string { return fmt.Sprintf("history, line %d: %s", e.Line, e.Why) }

// ReadFile reads a history. cut reports that the last line was not whole, as after a
// crash, and was left out.
func ReadFile(path string) (ops []Op, cut bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, fmt.Errorf("open history: %w", err)
	}
	defer f.Close()
	return ReadFrom(f)
}

// ReadFrom is ReadFile on a stream.
func ReadFrom(r io.Reader) (ops []Op, cut bool, err error) {
	br := bufio.NewReaderSize(r, maxLine)
	seen := names{}
	for n := 1; ; n++ {
		line, err := br.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return ops, len(line) > 0, nil
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, false, &LineError{n, fmt.Sprintf("longer than %d bytes", maxLine)}
		case err != nil:
			return nil, false, fmt.Errorf("read history: %w", err)
		case len(ops) == maxOps:
			return nil, false, &LineError{n, fmt.Sprintf("more than %d operations", maxOps)}
		}
		op, why := decode(line)
		if why != "" {
			return nil, false, &LineError{n, why}
		}
		seen.intern(&op)
		ops = append(ops, op)
	}
}

// decode reads one line; why is "" when it is an operation.
func decode(line []byte) (op Op, why string) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&op); err != nil {
		return op, "no operation: " + err.Error()
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return op, "more than one operation"
	}
	return op, op.fault()
}

// fault says what is wrong with an operation, "" for nothing.
func (o *Op) fault() string {
	mark := o.Kind == Lost || o.Kind == Back
	switch {
	case !known(o.Kind):
		return fmt.Sprintf("there is no kind %q", o.Kind)
	case o.Begin < 0 || !mark && o.End < o.Begin:
		return "it ends before it begins"
	case o.Begin > maxTime || o.End > maxTime:
		return "it is longer than a year"
	case mark && o.Node == "":
		return "a mark needs a node"
	case !mark && o.Outcome != OK && o.Outcome != Refused && o.Outcome != Unknown:
		return fmt.Sprintf("there is no outcome %q", o.Outcome)
	case o.Expected > maxRevision || o.Revision > maxRevision || o.Index > maxRevision:
		return "a revision is out of range"
	}
	return ""
}

const (
	maxTime     = 366 * 24 * time.Hour
	maxRevision = 1 << 62 // ranks are twice a revision
)

func known(k Kind) bool {
	if k == Lost || k == Back {
		return true
	}
	for _, other := range Kinds() {
		if k == other {
			return true
		}
	}
	return false
}

// names keeps one copy of each text that repeats.
type names map[string]string

func (n names) intern(o *Op) {
	for _, s := range []*string{(*string)(&o.Kind), (*string)(&o.Outcome), &o.Node, &o.Key, &o.Owner, &o.Detail} {
		if v, ok := n[*s]; ok {
			*s = v
		} else if len(n) < 1<<16 {
			n[*s] = *s
		}
	}
}

package scheduler

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// spec is a parsed cron expression: POSIX's five fields, or six with seconds first,
// with the steps and names that every cron knows.
type spec struct {
	text                     string
	sec, min, hour, dom, mon uint64 // sets of values: bit v is set
	dow                      uint64 // 0 is Sunday
	eitherDay                bool   // both days are restricted: one that matches is enough
	fixed                    bool   // names times of day; see next
}

// field is what one position may hold.
type field struct {
	name   string
	lo, hi int
	names  string // three letters each, the first one is lo
}

// fields are the positions of an expression with seconds.
func fields() [6]field {
	return [6]field{
		{"second", 0, 59, ""},
		{"minute", 0, 59, ""},
		{"hour", 0, 23, ""},
		{"day of month", 1, 31, ""},
		{"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
		{"day of week", 0, 7, "sunmontuewedthufrisat"},
	}
}

// macro is the expression that a short form such as @daily stands for.
func macro(s string) (string, error) {
	switch strings.ToLower(s) {
	case "@yearly", "@annually":
		return "0 0 1 1 *", nil
	case "@monthly":
		return "0 0 1 * *", nil
	case "@weekly":
		return "0 0 * * 0", nil
	case "@daily", "@midnight":
		return "0 0 * * *", nil
	case "@hourly":
		return "0 * * * *", nil
	}
	return "", fmt.Errorf("use one of @hourly, @daily, @weekly, @monthly, @yearly; for @every give an interval instead")
}

// parseCron reads an expression. The error names the field and what it may hold.
func parseCron(text string) (*spec, error) {
	s, err := parseFields(text)
	if err != nil {
		return nil, fmt.Errorf("cron %q: %w", text, err)
	}
	return s, nil
}

func parseFields(text string) (*spec, error) {
	full := strings.TrimSpace(text)
	if strings.HasPrefix(full, "@") {
		var err error
		if full, err = macro(full); err != nil {
			return nil, err
		}
	}
	parts := strings.Fields(full)
	switch len(parts) {
	case 5:
		parts = append([]string{"0"}, parts...)
	case 6:
	default:
		return nil, fmt.Errorf("%d fields: use five (minute, hour, day of month, month, day of week), or six with seconds first", len(parts))
	}
	var sets [6]uint64
	for i, f := range fields() {
		var err error
		if sets[i], err = f.parse(parts[i]); err != nil {
			return nil, err
		}
	}
	s := &spec{text: text, sec: sets[0], min: sets[1], hour: sets[2], dom: sets[3], mon: sets[4]}
	s.dow = sets[5]&0x7f | sets[5]>>7 // 7 is Sunday too
	star := func(i int) bool { return strings.HasPrefix(parts[i], "*") }
	s.eitherDay = !star(3) && !star(5)
	s.fixed = !star(0) && !star(1) && !star(2)
	return s, nil
}

// parse reads a list of values, ranges and steps.
func (f field) parse(text string) (uint64, error) {
	var set uint64
	for item := range strings.SplitSeq(text, ",") {
		one, err := f.item(item)
		if err != nil {
			return 0, fmt.Errorf("%s %q: %w", f.name, text, err)
		}
		set |= one
	}
	return set, nil
}

// item reads "*", "a", "a-b", or one of the first and the last with "/step".
func (f field) item(text string) (uint64, error) {
	values, step, stepped := strings.Cut(text, "/")
	from, to, isRange := strings.Cut(values, "-")
	lo, hi := f.lo, f.hi
	switch {
	case values == "*":
		if f.hi == 7 {
			hi = 6
		}
	case stepped && !isRange:
		return 0, fmt.Errorf("a step needs a range or *: use %s-%d/%s", values, f.hi, step)
	default:
		var err error
		if lo, err = f.value(from); err != nil {
			return 0, err
		}
		hi = lo
		if isRange {
			if hi, err = f.value(to); err != nil {
				return 0, err
			}
		}
		if f.hi == 7 && hi == 0 && lo > 0 {
			hi = 7 // as in fri-sun
		}
	}
	if lo > hi {
		return 0, fmt.Errorf("the range %s begins after its end", values)
	}
	n := 1
	if stepped {
		var err error
		if n, err = number(step); err != nil || n < 1 || n > f.hi {
			return 0, fmt.Errorf("step %q: use a number from 1 to %d", step, f.hi)
		}
	}
	var set uint64
	for v := lo; v <= hi; v += n {
		set |= 1 << v
	}
	return set, nil
}

// value reads a number or a name.
func (f field) value(text string) (int, error) {
	if i := strings.Index(f.names, strings.ToLower(text)); len(text) == 3 && i >= 0 && i%3 == 0 {
		return f.lo + i/3, nil
	}
	v, err := number(text)
	if err != nil || v < f.lo || v > f.hi {
		names := ""
		if f.names != "" {
			names = " or a name such as " + f.names[:3]
		}
		return 0, fmt.Errorf("%q is outside %d-%d%s", text, f.lo, f.hi, names)
	}
	return v, nil
}

// number reads one or two digits; signs and the like are no numbers here.
func number(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 8)
	if len(text) > 2 {
		return 0, strconv.ErrRange
	}
	return int(n), err
}

// day reports whether the schedule has times on a day.
func (s *spec) day(dom, dow int) bool {
	inMonth, inWeek := s.dom>>dom&1 == 1, s.dow>>dow&1 == 1
	if s.eitherDay {
		return inMonth || inWeek
	}
	return inMonth && inWeek
}

// from is the smallest value of a set that is at least v, or -1.
func from(set uint64, v int) int {
	set = set >> v << v
	if set == 0 {
		return -1
	}
	return bits.TrailingZeros64(set)
}

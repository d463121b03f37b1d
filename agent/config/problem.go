package config

import (
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Key   string // Field.Key, or "" when it is about the file as a whole
	Where Origin // where the value came from; "" for a default
	What  string
	Next  string // the step to take
}

// Error is one line without the next step.
func (p Problem) Error() string {
	var b strings.Builder
	if p.Where != "" {
		b.WriteString(string(p.Where) + ": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.What)
	return b.String()
}

// Problems is everything that is wrong, in the order of Fields.
type Problems []Problem

// Error is two lines for each problem: what, and the next step.
func (p Problems) Error() string {
	var b strings.Builder
	for i, one := range p {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(one.Error())
		if one.Next != "" {
			b.WriteString("\nnext: " + one.Next)
		}
	}
	return b.String()
}

// Locate returns p with the places filled in that origins knows.
func (p Problems) Locate(origins Origins) Problems {
	out := make(Problems, len(p))
	for i, one := range p {
		if one.Where == "" {
			one.Where = origins[one.Key]
		}
		out[i] = one
	}
	return out
}

// orNil keeps an empty list from becoming a non-nil error.
func (p Problems) orNil() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

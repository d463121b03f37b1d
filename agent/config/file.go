package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// MaxFileBytes bounds a configuration file.
const MaxFileBytes = 1 << 20

// ReadFile loads a configuration file. Errors about its content are Problems.
func ReadFile(path string) (Layer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", path, err)
	}
	return Load(path, text)
}

// Load reads a file's text; path names it in Origins and errors. An unknown key,
// one that is given twice and a value of the wrong shape are errors with their
// line. An empty file is an empty layer.
func Load(path string, text []byte) (Layer, error) {
	l := &loader{path: path, layer: Layer{}}
	if len(text) > MaxFileBytes {
		l.add(0, "", "is it the right file?", "it has over %d bytes", MaxFileBytes)
		return nil, l.problems
	}
	var doc, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return l.layer, nil
	case err != nil:
		return nil, l.syntax(err)
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		l.add(more.Line, "", "keep the first document only", "a second document begins here, or the rest cannot be read")
	}
	l.mapping("", doc.Content[0])
	if err := l.problems.orNil(); err != nil {
		return nil, err
	}
	return l.layer, nil
}

type loader struct {
	path     string
	layer    Layer
	problems Problems
}

func (l *loader) origin(line int) Origin {
	if line == 0 {
		return Origin(l.path)
	}
	return Origin(fmt.Sprintf("%s:%d", l.path, line))
}

func (l *loader) add(line int, key, next, what string, args ...any) {
	l.problems = append(l.problems, Problem{Key: key, Where: l.origin(line), What: fmt.Sprintf(what, args...), Next: next})
}

// syntax turns the parser's error, which names the line itself, into ours.
func (l *loader) syntax(err error) error {
	what := strings.TrimPrefix(err.Error(), "yaml: ")
	l.add(0, "", "mind the indentation: blanks, no tabs; quote texts that hold ': ' or ' #'", "%s", what)
	return l.problems
}

// mapping reads the keys below prefix ("" or "cluster.").
func (l *loader) mapping(prefix string, n *yaml.Node) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		l.add(n.Line, strings.TrimSuffix(prefix, "."), `write "key: value" lines`, "keys and values are expected here")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		key := prefix + k.Value
		if first, twice := seen[k.Value]; twice {
			l.add(k.Line, clip(key), "keep one of the two", "it is given in line %d already", first)
			continue
		}
		seen[k.Value] = k.Line
		l.entry(key, k, v)
	}
}

func (l *loader) entry(key string, k, v *yaml.Node) {
	f, known := fieldAt(key)
	switch {
	case k.Kind != yaml.ScalarNode:
		l.add(k.Line, "", "", "a key must be a plain word")
	case known && isNull(v):
		l.add(v.Line, key, "give a value, or leave the key out", "it has no value")
	case known && f.Many:
		l.layer[key] = Value{Texts: l.list(key, v), Origin: l.origin(v.Line)}
	case known:
		l.layer[key] = Value{Texts: []string{l.scalar(key, v)}, Origin: l.origin(v.Line)}
	case isSection(key):
		l.mapping(key+".", v)
	default:
		l.add(k.Line, clip(key), suggestion(key), "it is not known")
	}
}

// list reads a sequence; a single value stands for a list of one.
func (l *loader) list(key string, n *yaml.Node) []string {
	if n.Kind != yaml.SequenceNode {
		return []string{l.scalar(key, n)}
	}
	out := make([]string, 0, len(n.Content))
	for _, item := range n.Content {
		out = append(out, l.scalar(key, item))
	}
	return out
}

// scalar takes the text as it is written, so that 8080 and "8080" are the same.
// Aliases are refused: nothing here is long enough to need them.
func (l *loader) scalar(key string, n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		l.add(n.Line, key, "give one value", "a single value is expected here")
		return ""
	}
	if strings.ContainsAny(n.Value, "\r\n\x00") {
		l.add(n.Line, key, "write it on one line", "the value has several lines")
		return ""
	}
	return n.Value
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// isSection reports whether fields lie below key.
func isSection(key string) bool {
	return slices.ContainsFunc(Fields(), func(f Field) bool { return strings.HasPrefix(f.Key, key+".") })
}

package config

import (
	"bytes"
	"fmt"
	"io"
	"net/url"
	"strings"

	"gopkg.in/yaml.v3"
)

// Print writes the configuration in force as a file that Load reads back. With
// origins, values that are not defaults are followed by where they came from.
// Passwords inside URLs are masked: nothing else in a Config is secret.
func (c Config) Print(w io.Writer, origins Origins) error {
	root := &yaml.Node{Kind: yaml.MappingNode}
	sections := map[string]*yaml.Node{}
	for _, f := range Fields() {
		origin := origins[f.Key]
		if f.Hidden && origin == "" {
			continue
		}
		into, name := root, f.Key
		if section, rest, nested := strings.Cut(f.Key, "."); nested {
			if sections[section] == nil {
				sections[section] = &yaml.Node{Kind: yaml.MappingNode}
				root.Content = append(root.Content, text(section), sections[section])
			}
			into, name = sections[section], rest
		}
		value := f.node(c)
		comment := value
		if value.Kind == yaml.SequenceNode && len(value.Content) > 0 {
			comment = value.Content[0] // behind an empty line a comment would be lost
		}
		if origin != "" {
			comment.LineComment = "from " + string(origin)
		}
		into.Content = append(into.Content, text(name), value)
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return nil
}

// node is the field's value in the file.
func (f Field) node(c Config) *yaml.Node {
	if !f.Many {
		v := last(f.texts(c))
		if v == "" && (f.Key == "api.listen" || f.Key == "api.socket") {
			v = Off
		}
		if f.Switch() {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: v}
		}
		return text(mask(v))
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, t := range f.texts(c) {
		n.Content = append(n.Content, text(mask(t)))
	}
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	return n
}

func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

// mask hides the password of a URL, with or without "NAME=" before it.
func mask(s string) string {
	start := strings.Index(s, "://")
	if start < 0 || !strings.Contains(s[start:], "@") {
		return s
	}
	name := ""
	if i := strings.IndexByte(s[:start], '='); i >= 0 {
		name, s = s[:i+1], s[i+1:]
	}
	u, err := url.Parse(s)
	if err != nil {
		return name + "(not shown: it may hold a password)"
	}
	return name + u.Redacted()
}

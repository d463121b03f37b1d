package config

import (
	"path/filepath"
	"time"
)

// Origin says where a value came from: "--bind", "USHER_BIND",
// "/etc/usher/usher.yaml:12", or "" for a default.
type Origin string

// Value is what one source says of one field.
type Value struct {
	Texts  []string // one, unless the field takes many
	Origin Origin
}

// Layer is what one source says, by Field.Key.
type Layer map[string]Value

// Origins says where each value of a Config came from, by Field.Key.
type Origins map[string]Origin

// Off, given for a listener or a socket, opens none.
const Off = "off"

// Merge lays layers over each other, the strongest first, and types the result. A
// list is taken whole from the strongest layer that has it. The error is Problems,
// and names values that cannot be typed; whether they make sense is Validate's
// question.
func Merge(layers ...Layer) (Config, Origins, error) {
	var c Config
	var problems Problems
	origins := Origins{}
	for _, f := range Fields() {
		for _, l := range layers {
			v, ok := l[f.Key]
			if !ok {
				continue
			}
			origins[f.Key] = v.Origin
			if err := f.set(&c, v.Texts); err != nil {
				next := "write it like 500ms, 30s or 1h30m"
				if f.Switch() {
					next = "write true or false"
				}
				problems = append(problems, Problem{Key: f.Key, Where: v.Origin, What: err.Error(), Next: next})
			}
			break
		}
	}
	c.resolve(origins)
	return c, origins, problems.orNil()
}

// resolve replaces the words that stand for something else. A data directory of
// one's own takes the socket along, so that two agents on a machine do not meet.
func (c *Config) resolve(origins Origins) {
	private := origins["api.socket"] == "" && origins["data_dir"] != ""
	if c.API.Socket == "" || private {
		c.API.Socket = filepath.Join(c.DataDir, SocketName)
	}
	if c.API.Socket == Off {
		c.API.Socket = ""
	}
	if c.API.Listen == Off {
		c.API.Listen = ""
	}
	if !c.HasEngines() {
		c.Engines = nil
	}
}

// Environment reads the USHER_* variables through lookup (os.LookupEnv). An empty
// variable counts as absent.
func Environment(lookup func(string) (string, bool)) Layer {
	l := Layer{}
	for _, f := range Fields() {
		text, ok := lookup(f.Env)
		if !ok || text == "" {
			continue
		}
		v := Value{Texts: []string{text}, Origin: Origin(f.Env)}
		if f.Many {
			v.Texts = splitTexts(text)
		}
		l[f.Key] = v
	}
	return l
}

// Flags makes a layer of the flags that were given, by Field.Flag.
func Flags(given map[string][]string) Layer {
	l := Layer{}
	for _, f := range Fields() {
		if texts, ok := given[f.Flag]; ok {
			l[f.Key] = Value{Texts: texts, Origin: Origin("--" + f.Flag)}
		}
	}
	return l
}

const (
	defaultElectionTimeout = 500 * time.Millisecond
	defaultStopTimeout     = 30 * time.Second
)

package night

import (
	"fmt"
	"slices"
	"time"
)

// kind is what was written.
type kind string

const (
	aSetting kind = "setting"
	aTask    kind = "task"
	aToken   kind = "API token"
	aRun     kind = "run of a task"
)

// try is one write, tried once. A name is used once, but for settings.
type try struct {
	Kind       kind
	Name       string // key, name, or occurrence; of a run that was not acknowledged ""
	Value      string
	Revision   uint64 // of the row, when it was acknowledged
	OK         bool   // acknowledged; otherwise it may have happened or not
	Begin, End time.Time
	Secret     string // of a token
}

func (t try) String() string {
	return fmt.Sprintf("%s %s %s, revision %d, acknowledged at %s", t.Kind, t.Name, t.Value, t.Revision, t.End.UTC().Format("15:04:05.000"))
}

// row is what the state has under a name.
type row struct {
	Value    string
	Modified uint64
}

// found is the state after the night.
type found map[kind]map[string]row

// verdict is what became of the writes.
type verdict struct {
	Acknowledged, Lost int
	Wrong              []string // the smallest evidence
}

const maxWrong = 5

func (v *verdict) wrong(format string, args ...any) {
	if len(v.Wrong) < maxWrong {
		v.Wrong = append(v.Wrong, fmt.Sprintf(format, args...))
	}
}

// stampSlack is by how much the time of a command may be before that when its client began:
// stamps are cut to milliseconds, and what is printed to seconds.
const stampSlack = time.Second + 10*time.Millisecond

// judge compares what was acknowledged with what is there, and both with what was said.
func judge(tries []try, is found, s said) verdict {
	var v verdict
	settings := map[string][]try{}
	for _, t := range tries {
		if t.Kind == aSetting {
			settings[t.Name] = append(settings[t.Name], t)
		}
		if !t.OK {
			continue
		}
		v.Acknowledged++
		lost := s.Revision != 0 && t.Revision > s.Revision
		if lost {
			v.Lost++
		}
		v.times(t, s, lost)
		if t.Kind == aSetting {
			continue
		}
		got, there := is[t.Kind][t.Name]
		switch {
		case lost && there:
			v.wrong("it was said to be lost, and is there: %s", t)
		case !lost && !there:
			v.wrong("it is lost, and nobody had said so: %s", t)
		case !lost && got.Value != t.Value:
			v.wrong("it is there as %q: %s", got.Value, t)
		}
	}
	for key, all := range settings {
		v.setting(key, all, is[aSetting][key], s)
	}
	return v
}

// times holds the time that was said against an acknowledged write.
func (v *verdict) times(t try, s said, lost bool) {
	if s.Revision == 0 || s.AsOf.IsZero() {
		return
	}
	if lost && t.End.Before(s.AsOf) {
		v.wrong("it is lost, and the last change that is kept was said to be of %s: %s", s.AsOf.Format(time.TimeOnly), t)
	}
	if !lost && t.Begin.After(s.AsOf.Add(stampSlack)) {
		v.wrong("it is kept, and the last such change was said to be of %s: %s", s.AsOf.Format(time.TimeOnly), t)
	}
}

// setting judges the row of a key: it is the last one that was acknowledged and kept, or that of
// a later write whose outcome nobody knows.
func (v *verdict) setting(key string, all []try, got row, s said) {
	var last, next *try
	for i := range all {
		t := &all[i]
		switch {
		case !t.OK || t.Revision == 0:
		case s.Revision != 0 && t.Revision > s.Revision:
			if next == nil || t.Revision < next.Revision {
				next = t
			}
		case last == nil || t.Revision > last.Revision:
			last = t
		}
	}
	by := slices.IndexFunc(all, func(t try) bool { return t.OK && t.Revision == got.Modified })
	switch {
	case last != nil && got.Modified < last.Revision:
		v.wrong("%s has revision %d, and later ones were acknowledged: %s", key, got.Modified, last)
	case next != nil && got.Modified >= next.Revision:
		v.wrong("%s has revision %d, and was said to lose it: %s", key, got.Modified, next)
	case by >= 0 && all[by].Value != got.Value:
		v.wrong("%s is %s: %s", key, got.Value, all[by])
	case by < 0 && last != nil && !slices.ContainsFunc(all, func(t try) bool { return !t.OK && t.Value == got.Value }):
		v.wrong("%s is %s with revision %d, which nobody wrote", key, got.Value, got.Modified)
	}
}

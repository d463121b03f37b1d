package bench

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// settings are durations that nothing depends on while no user is there, with a
// base from which microseconds are counted: values that are all different, in range
// and in their canonical form.
var settings = [...]struct {
	key  string
	base time.Duration
}{
	{"door.body_idle_timeout", 2 * time.Minute},
	{"door.head_timeout", 10 * time.Minute},
	{"door.websocket_idle", time.Hour},
	{"door.websocket_ping", time.Minute},
	{"engine.fail_after", time.Minute},
	{"session.idle_timeout", time.Hour},
	{"session.max_life", 20 * time.Hour},
}

// Keys is how many keys are written.
const Keys = len(settings)

// Setting is the name of key k, and Value the text of its seq-th value.
func Setting(k int) string { return settings[k].key }

// Value is the value of key k that stands for seq, 1 to 100,000,000.
func Value(k int, seq int64) string {
	return (settings[k].base + time.Duration(seq)*time.Microsecond).String()
}

// SeqOf is the inverse of Value; zero is the base.
func SeqOf(k int, value string) (int64, error) {
	d, err := time.ParseDuration(value)
	if err != nil {
		return 0, fmt.Errorf("%s holds what nobody wrote: %w", settings[k].key, err)
	}
	return int64((d - settings[k].base) / time.Microsecond), nil
}

// CheckSetting reads the row in an answer about key k: the revision that last
// changed it. It does not decode all of it, because that would cost the client more
// than the answer cost the agent.
func CheckSetting(a Answer, k int) (version uint64, err error) {
	if a.Status != 200 {
		return 0, &StatusError{Status: a.Status, Body: string(a.Body[:min(len(a.Body), 300)])}
	}
	if key, _ := field(a.Body, `"key":"`, '"'); key != settings[k].key {
		return 0, fmt.Errorf("asked for %s, answered %q", settings[k].key, a.Body)
	}
	if value, ok := field(a.Body, `"value":"`, '"'); !ok || value == "" || a.Index == 0 {
		return 0, fmt.Errorf("the answer lacks a value or the revision: %q", a.Body)
	}
	text, ok := field(a.Body, `"modified":`, ',')
	if !ok {
		return 0, nil // never set
	}
	if version, err = strconv.ParseUint(text, 10, 64); err != nil {
		return 0, fmt.Errorf("read the row's revision: %w", err)
	}
	if version > a.Index {
		return 0, fmt.Errorf("the row changed at %d, after the revision %d that the answer shows", version, a.Index)
	}
	return version, nil
}

func field(body []byte, name string, end byte) (string, bool) {
	_, rest, ok := bytes.Cut(body, []byte(name))
	if !ok {
		return "", false
	}
	i := bytes.IndexByte(rest, end)
	if i < 0 {
		return "", false
	}
	return string(rest[:i]), true
}

// StatusError is an answer that is not 200.
type StatusError struct {
	Status int
	Body   string
}

func (e *StatusError) Error() string { return fmt.Sprintf("answered %d: %s", e.Status, e.Body) }

package fsm

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Type is the type of a setting's value.
type Type string

// Types of settings.
const (
	TypeBool     Type = "bool"
	TypeInt      Type = "int"
	TypeSize     Type = "size"     // bytes; accepts 64KiB, 10MiB, 1GiB
	TypeDuration Type = "duration" // Go's form: 1h30m
	TypeEnum     Type = "enum"
	TypeText     Type = "text"
	TypeList     Type = "list"     // comma-separated
	TypeNetworks Type = "networks" // comma-separated CIDRs
)

// Spec describes one setting. Min and Max bound int, size and duration
// (nanoseconds); for text and list Max bounds the bytes.
type Spec struct {
	Key     string
	Type    Type
	Default string // canonical
	Min     int64
	Max     int64
	Values  []string // of an enum
	Help    string   // one line
}

// Schema lists every setting, sorted by key.
func Schema() []Spec { return slices.Clone(specs) }

// SchemaOf returns the description of one setting.
func SchemaOf(key string) (Spec, bool) {
	i, ok := slices.BinarySearchFunc(specs, key, func(s Spec, k string) int { return strings.Compare(s.Key, k) })
	if !ok {
		return Spec{}, false
	}
	return specs[i], true
}

const (
	kib    = int64(1) << 10
	gib    = int64(1) << 30
	tib    = int64(1) << 40
	ms     = int64(time.Millisecond)
	sec    = int64(time.Second)
	minute = 60 * sec
	hr     = 60 * minute
)

var specs = []Spec{
	{"door.access_log", TypeEnum, "off", 0, 0, []string{"off", "errors", "sampled", "all"}, "log a line for requests: those that failed, these and one in door.access_log_sample, or all"},
	{"door.access_log_sample", TypeInt, "100", 1, 1_000_000, nil, "with door.access_log sampled: of so many requests one has a line"},
	{"door.body_idle_timeout", TypeDuration, "30s", sec, hr, nil, "a body that makes no progress for this long ends the request"},
	{"door.client_key_header", TypeText, "", 0, 64, nil, "request header that stands for the session of clients without cookies; empty: none"},
	{"door.document_patterns", TypeList, "/doc/{document}", 0, 2 * kib, nil, "where a request names its document, in order: /path/{document}, ?query={document}, Header: {document}"},
	{"door.head_timeout", TypeDuration, "5m", sec, hr, nil, "how long an engine may take to begin its answer"},
	{"door.hsts", TypeDuration, "0s", 0, 17520 * hr, nil, "tell browsers for this long to come by TLS only; 0s: say nothing"},
	{"door.max_body_bytes", TypeSize, "0", 0, tib, nil, "largest request body; 0: no limit"},
	{"door.max_connections", TypeInt, "0", 0, 10_000_000, nil, "connections of users at each door; further ones get 503; 0: as many as file descriptors allow"},
	{"door.max_connections_per_address", TypeInt, "0", 0, 10_000_000, nil, "connections of one address at each door, trusted networks excepted; further ones get 429; 0: no limit"},
	{"door.show_node", TypeBool, "false", 0, 0, nil, "name the node whose engine answered in the header X-Usher-Node"},
	{"door.shutdown_delay", TypeDuration, "0s", 0, 5 * minute, nil, "time between the status page saying 503 and the door closing, for load balancers"},
	{"door.trusted_networks", TypeNetworks, "", 0, 2 * kib, nil, "networks whose X-Forwarded-* headers are believed"},
	{"door.websocket_idle", TypeDuration, "0s", 0, 168 * hr, nil, "end a WebSocket on which the user was silent for this long; 0s: never"},
	{"door.websocket_ping", TypeDuration, "30s", sec, 10 * minute, nil, "interval of pings to users' WebSockets; two unanswered ones end it"},
	{"engine.fail_after", TypeDuration, "5s", 0, 5 * minute, nil, "sessions of a dead engine move to another after this long"},
	{"engine.health_failures", TypeInt, "3", 1, 100, nil, "failed probes in a row that make an engine unhealthy"},
	{"engine.health_interval", TypeDuration, "2s", 100 * ms, 5 * minute, nil, "interval of health probes"},
	{"engine.health_passes", TypeInt, "2", 1, 100, nil, "good probes in a row that make an engine healthy again"},
	{"engine.health_timeout", TypeDuration, "2s", 50 * ms, minute, nil, "how long a health probe may take"},
	{"engine.max_sessions", TypeInt, "0", 0, 1_000_000, nil, "most sessions on one engine; 0: no limit"},
	{"log.level", TypeEnum, "info", 0, 0, []string{"debug", "info", "warn", "error"}, "least important lines that every agent logs"},
	{"node.fail_after", TypeDuration, "1200ms", 400 * ms, minute, nil, "sessions of a node that answers neither the door that they use nor another node move after this long"},
	{"placement.ask_timeout", TypeDuration, "50ms", ms, 5 * sec, nil, "how long a door waits for the two engines that it asks"},
	{"placement.strategy", TypeEnum, "least-loaded", 0, 0, []string{"least-loaded", "random", "round-robin", "sessions"}, "how an engine is chosen for a new session"},
	{"raft.snapshot_rate", TypeSize, "67108864", 64 * kib, 10 * gib, nil, "most bytes a second at which a node writes, sends or receives snapshots of the state; a restore at start is not limited"},
	{"scheduler.history", TypeInt, "200", 1, 100_000, nil, "ended occurrences kept for each task"},
	{"scheduler.parallel", TypeInt, "4", 1, 64, nil, "most tasks that run on one node at a time"},
	{"session.idle_timeout", TypeDuration, "30m", sec, 168 * hr, nil, "a session that was not used for this long ends"},
	{"session.max_life", TypeDuration, "24h", sec, 720 * hr, nil, "a session ends this long after it began"},
	{"session.same_site", TypeEnum, "lax", 0, 0, []string{"lax", "strict", "none"}, "SameSite attribute of the session cookie"},
	{"session.scope", TypeEnum, "browser", 0, 0, []string{"browser", "document"}, "one engine for all of a browser's documents, or one for each document (engines' HttpOnly cookies are then kept apart)"},
	{"snapshot.interval", TypeDuration, "24h", 0, 720 * hr, nil, "how often every server saves a snapshot of the state below its data directory; 0s: never"},
	{"snapshot.keep", TypeInt, "7", 1, 1000, nil, "snapshots that a server keeps of those that it saved by itself"},
}

// Canonical checks a value and returns the form in which it is stored. The error
// is an *Error with the allowed range.
func Canonical(key, value string) (string, error) {
	s, err := canonical(key, value)
	if err != nil {
		return "", err
	}
	return s, nil
}

func canonical(key, value string) (string, *Error) {
	spec, ok := SchemaOf(key)
	if !ok {
		return "", unknownSetting(key)
	}
	if len(value) > MaxCommandBytes/4 {
		return "", refuse(CodeInvalid, "setting %s: the value is far too long", key)
	}
	out, err := spec.canonical(strings.TrimSpace(value))
	if err != nil {
		return "", refuse(CodeInvalid, "setting %s: %q is not %s", key, clip(value, 64), spec.Range())
	}
	return out, nil
}

func unknownSetting(key string) *Error {
	msg := fmt.Sprintf("there is no setting %q", clip(key, 64))
	if near := nearest(key); near != "" {
		msg += fmt.Sprintf(": did you mean %s?", near)
	}
	return refuse(CodeNotFound, "%s", msg)
}

// Range says in words what the setting accepts.
func (s Spec) Range() string {
	switch s.Type {
	case TypeBool:
		return "true or false"
	case TypeEnum:
		return "one of " + strings.Join(s.Values, ", ")
	case TypeDuration:
		return fmt.Sprintf("a duration from %s to %s, such as %s", shortDuration(time.Duration(s.Min)), shortDuration(time.Duration(s.Max)), s.Default)
	case TypeInt:
		return fmt.Sprintf("a number from %d to %d", s.Min, s.Max)
	case TypeSize:
		return fmt.Sprintf("a size from %d to %d bytes, such as 64KiB or 10MiB", s.Min, s.Max)
	case TypeNetworks:
		return "a comma-separated list of networks such as 10.0.0.0/8"
	case TypeList:
		return fmt.Sprintf("a comma-separated list of at most %d bytes", s.Max)
	}
	return fmt.Sprintf("text of at most %d bytes", s.Max)
}

var errRange = fmt.Errorf("out of range")

func (s Spec) canonical(v string) (string, error) {
	switch s.Type {
	case TypeBool:
		b, err := strconv.ParseBool(strings.ToLower(v))
		return strconv.FormatBool(b), err
	case TypeEnum:
		if v = strings.ToLower(v); !slices.Contains(s.Values, v) {
			return "", errRange
		}
		return v, nil
	case TypeDuration:
		d, err := time.ParseDuration(v)
		if err != nil || int64(d) < s.Min || int64(d) > s.Max {
			return "", errRange
		}
		return shortDuration(d), nil
	case TypeInt, TypeSize:
		n, err := parseSize(v, s.Type == TypeSize)
		if err != nil || n < s.Min || n > s.Max {
			return "", errRange
		}
		return strconv.FormatInt(n, 10), nil
	case TypeNetworks:
		return canonicalNetworks(v, s.Max)
	}
	return s.canonicalText(v)
}

func (s Spec) canonicalText(v string) (string, error) {
	if int64(len(v)) > s.Max || strings.ContainsFunc(v, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return "", errRange
	}
	if s.Type == TypeList {
		return strings.Join(splitList(v), ","), nil
	}
	return v, nil
}

func canonicalNetworks(v string, limit int64) (string, error) {
	var out []string
	for _, part := range splitList(v) {
		p, err := netip.ParsePrefix(part)
		if err != nil {
			a, err := netip.ParseAddr(part)
			if err != nil {
				return "", err
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p.Masked().String())
	}
	s := strings.Join(out, ",")
	if int64(len(s)) > limit {
		return "", errRange
	}
	return s, nil
}

func splitList(v string) []string {
	var out []string
	for part := range strings.SplitSeq(v, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func parseSize(v string, units bool) (int64, error) {
	shift := 0
	if units {
		for suffix, s := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40} {
			if rest, ok := strings.CutSuffix(v, suffix); ok {
				v, shift = strings.TrimSpace(rest), s
			}
		}
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0, err
	}
	if n > (1<<62)>>shift || n < 0 {
		return 0, errRange
	}
	return n << shift, nil
}

// shortDuration prints 30m0s as 30m, and 1h0m0s as 1h.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// nearest is the known key that a mistyped one most likely meant, or "".
func nearest(key string) string {
	best, dist := "", 4
	for _, s := range specs {
		if strings.HasSuffix(s.Key, "."+key) {
			return s.Key
		}
		if d := distance(key, s.Key); d < dist {
			best, dist = s.Key, d
		}
	}
	return best
}

// distance is Levenshtein's, for short strings.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		prev := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := prev + cost
			for _, d := range []int{row[j] + 1, row[j+1] + 1} {
				if d < next {
					next = d
				}
			}
			prev, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

package main

// kind is a kind of abuse.
type kind struct {
	Name string
	What string // for people
	TLS  bool   // the door speaks it
	H2   bool
	Many int     // how much of --count each connection does; 0: the kind has a few connections
	Rate float64 // of what is counted as an act, a second, all connections together
	Act  string  // what that is
	Hold bool    // it is an abuse while it is held, not by how often it is done
}

// few is how many connections a flood comes by.
const few = 20

// streamsEach is how many streams a connection of HTTP/2 opens: the door allows no more.
const streamsEach = 100

// kinds are those that there are. What is held is begun with so slowly that the beginning is no
// flood of large answers or handshakes.
var kinds = [...]kind{
	{Name: "rapid-reset", What: "requests that are taken back when the door has begun", TLS: true, H2: true, Rate: 2000, Act: "resets"},
	{Name: "continuation", What: "heads that never end, in CONTINUATION frames", TLS: true, H2: true, Rate: 20000, Act: "frames"},
	{Name: "header-bomb", What: "heads of 200 KiB", TLS: true, H2: true, Rate: 200, Act: "heads"},
	{Name: "hpack-bomb", What: "heads of 16 KiB that unpack to 60 MiB", TLS: true, H2: true, Rate: 500, Act: "heads"},
	{Name: "ping", What: "PING frames", TLS: true, H2: true, Rate: 20000, Act: "frames"},
	{Name: "ping-deaf", What: "PING frames, the answers not read", TLS: true, H2: true, Rate: 20000, Act: "frames"},
	{Name: "settings", What: "SETTINGS frames", TLS: true, H2: true, Rate: 20000, Act: "frames"},
	{Name: "empty-data", What: "DATA frames without data", TLS: true, H2: true, Rate: 20000, Act: "frames"},
	{Name: "window-zero", What: "large answers asked for with no window", TLS: true, H2: true, Many: streamsEach, Rate: 200, Act: "streams", Hold: true},
	{Name: "window-tiny", What: "the same with a byte at a time", TLS: true, H2: true, Many: streamsEach, Rate: 200, Act: "streams", Hold: true},
	{Name: "slow-body-h2", What: "bodies of a byte a second, many in a connection", TLS: true, H2: true, Many: streamsEach, Rate: 200, Act: "streams", Hold: true},
	{Name: "slow-head", What: "heads of a byte a second", Many: 1, Rate: 100, Act: "connections", Hold: true},
	{Name: "slow-body", What: "bodies of a byte a second", Many: 1, Rate: 100, Act: "connections", Hold: true},
	{Name: "slow-reader", What: "large answers read slowly", Many: 1, Rate: 100, Act: "connections", Hold: true},
	{Name: "slow-head-tls", What: "as slow-head", TLS: true, Many: 1, Rate: 100, Act: "connections", Hold: true},
	{Name: "slow-body-tls", What: "as slow-body", TLS: true, Many: 1, Rate: 100, Act: "connections", Hold: true},
	{Name: "slow-reader-tls", What: "as slow-reader", TLS: true, Many: 1, Rate: 100, Act: "connections", Hold: true},
}

func kindNames() []string {
	var out []string
	for _, k := range kinds {
		out = append(out, k.Name)
	}
	return out
}

// connections is how many the abusers keep.
func (k kind) connections(count int) int {
	if k.Many == 0 {
		return min(few, count)
	}
	return max(1, count/k.Many)
}

// each is how many streams a connection holds open.
func (k kind) each(count int) int { return max(1, min(k.Many, count)) }

// all is what must have been done so that all have begun.
func (k kind) all(count int) int { return k.connections(count) * k.each(count) }

// needed is what must have been done or tried so that the figures say something.
func (k kind) needed(count int) int { return max(1, k.all(count)*9/10) }

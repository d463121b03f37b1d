package load

import "time"

const (
	homeAfter  = 2 * time.Second // a client tries its own node again
	backoffMin = 20 * time.Millisecond
	backoffMax = time.Second
)

// route is which node a client asks: its own until a try fails there, then the next ones, and
// its own again after a while. Times are those of the recorder.
type route struct {
	nodes, home int
	at          int
	away        time.Duration // when it left home
	fails       int           // in a row
}

func newRoute(nodes, home int) route {
	return route{nodes: nodes, home: home % nodes, at: home % nodes}
}

// next is the node to ask now.
func (r *route) next(now time.Duration) int {
	if r.at != r.home && now-r.away >= homeAfter {
		r.at = r.home
	}
	return r.at
}

// worked notes that a try was answered.
func (r *route) worked() { r.fails = 0 }

// failed notes that a try was not answered as it should, and says how long to wait before
// the next one, at another node.
func (r *route) failed(now time.Duration) time.Duration {
	if r.at == r.home {
		r.away = now
	}
	r.at = (r.at + 1) % r.nodes
	pause := backoffMin << min(r.fails/r.nodes, 6)
	r.fails++
	return min(pause, backoffMax)
}

package admin

import (
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Headers of the API beside those of HTTP.
const (
	headerIndex       = "X-Usher-Index"
	headerStale       = "X-Usher-Stale"
	headerAge         = "X-Usher-Age" // whole seconds
	headerIdempotency = "Idempotency-Key"
)

// Option changes one call.
type Option func(*query)

type query struct {
	values url.Values
	header http.Header
	wait   time.Duration
}

func newQuery(opts []Option) query {
	q := query{values: url.Values{}, header: http.Header{}}
	for _, o := range opts {
		o(&q)
	}
	return q
}

// Stale reads what the node knows, without asking a majority.
func Stale() Option { return func(q *query) { q.values.Set("stale", "") } }

// Counted has a node asked how many sessions it has: see Node.Count.
func Counted() Option { return func(q *query) { q.values.Set("count", "") } }

// WaitIndex makes a read wait until the state is newer than the revision, for at
// most wait (60 s); it answers then in any case.
func WaitIndex(revision uint64, wait time.Duration) Option {
	return func(q *query) {
		q.values.Set("index", strconv.FormatUint(revision, 10))
		q.values.Set("wait", wait.String())
		q.wait = wait
	}
}

// Page asks for at most limit items (0: 100) behind the cursor ("": the first).
func Page(limit int, cursor string) Option {
	return func(q *query) {
		if limit > 0 {
			q.values.Set("limit", strconv.Itoa(limit))
		}
		if cursor != "" {
			q.values.Set("cursor", cursor)
		}
	}
}

// IfMatch makes a write hold only while the row has the etag.
func IfMatch(etag string) Option {
	return func(q *query) { q.header.Set("If-Match", `"`+etag+`"`) }
}

// IfAbsent makes a write hold only while there is no row.
func IfAbsent() Option { return func(q *query) { q.header.Set("If-None-Match", "*") } }

// Idempotent names the write, 1 to 128 printable characters: whoever repeats it
// under the same key gets the first outcome, and nothing is done twice.
func Idempotent(key string) Option {
	return func(q *query) { q.header.Set(headerIdempotency, key) }
}

// param sets a query parameter unless it is empty.
func param(key, value string) Option {
	return func(q *query) {
		if value != "" {
			q.values.Set(key, value)
		}
	}
}

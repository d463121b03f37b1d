package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of a load report. One beyond them is refused as a whole: half a report
// would be placed on as if it were true.
const (
	MaxReportDocuments = 512
	MaxDocumentKey     = 128 // bytes
)

const (
	// askAgain is how long an engine that does not offer load reports is left in
	// peace: each question is a 404 in its log.
	askAgain = 5 * time.Minute

	// askAgainFailed is the same for one that seems to offer them and failed.
	askAgainFailed = 30 * time.Second
)

// Report is an engine's word about itself: the answer to GET load.
type Report struct {
	Version      int              `json:"version"` // 1
	LoadPermille *int             `json:"load_permille,omitempty"`
	Sessions     int              `json:"sessions"`
	Documents    []DocumentReport `json:"documents"` // sorted by Key

	Received time.Time `json:"-"` // by our clock
}

// DocumentReport is a document that the engine holds in memory.
type DocumentReport struct {
	Key   string `json:"key"`
	Bytes int64  `json:"bytes"`
}

// Permille is the engine's own opinion of its load, 0 to 1000, or -1 if it gave
// none: the form of peer.EngineLoad.
func (r *Report) Permille() int {
	if r == nil || r.LoadPermille == nil {
		return -1
	}
	return *r.LoadPermille
}

// Keys returns the keys of at most limit documents, the largest ones, sorted.
func (r *Report) Keys(limit int) []string {
	if r == nil {
		return nil
	}
	docs := slices.Clone(r.Documents)
	slices.SortStableFunc(docs, func(a, b DocumentReport) int { return cmp.Compare(b.Bytes, a.Bytes) })
	docs = docs[:min(limit, len(docs))]
	keys := make([]string, len(docs))
	for i, d := range docs {
		keys[i] = d.Key
	}
	slices.Sort(keys)
	return keys
}

// equal ignores when the reports were received.
func (r *Report) equal(o *Report) bool {
	if r == nil || o == nil {
		return r == o
	}
	return r.Permille() == o.Permille() && r.Sessions == o.Sessions && slices.Equal(r.Documents, o.Documents)
}

// ParseReport reads a load report. Unknown members are ignored, so that a report
// may say more than this version knows.
func ParseReport(b []byte) (*Report, error) {
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("load report: %w", err)
	}
	switch {
	case r.Version != 1:
		return nil, fmt.Errorf("load report: version %d: this usher knows version 1", r.Version)
	case r.LoadPermille != nil && (*r.LoadPermille < 0 || *r.LoadPermille > 1000):
		return nil, fmt.Errorf("load report: load_permille %d: use 0 to 1000", *r.LoadPermille)
	case r.Sessions < 0:
		return nil, fmt.Errorf("load report: sessions %d is negative", r.Sessions)
	case len(r.Documents) > MaxReportDocuments:
		return nil, fmt.Errorf("load report: %d documents: report the %d largest", len(r.Documents), MaxReportDocuments)
	}
	for i, d := range r.Documents {
		if err := checkKey(d.Key); err != nil {
			return nil, fmt.Errorf("load report: document %d: %w", i+1, err)
		}
		if d.Bytes < 0 {
			return nil, fmt.Errorf("load report: document %q: bytes %d is negative", d.Key, d.Bytes)
		}
	}
	slices.SortFunc(r.Documents, func(a, b DocumentReport) int { return strings.Compare(a.Key, b.Key) })
	for i := 1; i < len(r.Documents); i++ {
		if r.Documents[i].Key == r.Documents[i-1].Key {
			return nil, fmt.Errorf("load report: document %q appears twice", r.Documents[i].Key)
		}
	}
	return &r, nil
}

func checkKey(k string) error {
	switch {
	case k == "":
		return errors.New("the key is empty")
	case len(k) > MaxDocumentKey:
		return fmt.Errorf("the key is longer than %d bytes", MaxDocumentKey)
	case !utf8.ValidString(k) || strings.ContainsFunc(k, unicode.IsControl):
		return fmt.Errorf("the key %q is not printable UTF-8", k)
	}
	return nil
}

// refreshReport asks for the load report if it is time. It never changes the
// engine's health: the API is an extra.
func (e *Engine) refreshReport(ctx context.Context, timeout time.Duration) {
	e.mu.Lock()
	wait := e.cfg.API.Off || e.now().Before(e.askAfter)
	e.mu.Unlock()
	if wait {
		return
	}
	cctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%w (%v)", errProbeTimeout, timeout))
	defer cancel()
	ans, err := e.exchange(cctx, call{method: http.MethodGet, target: e.cfg.API.Prefix + "load", secret: true})
	if ctx.Err() != nil {
		return
	}
	var r *Report
	pause := time.Duration(0)
	if err != nil {
		err, pause = ended(cctx, err), askAgainFailed
	} else {
		r, pause, err = judgeReport(ans, e.cfg.API.SecretFile != "")
	}
	e.setReport(r, pause, err)
}

// judgeReport reads an answer to GET load: a report, or how long not to ask, with
// an error if the engine seems to offer reports.
func judgeReport(ans answer, withSecret bool) (*Report, time.Duration, error) {
	switch {
	case ans.status == http.StatusOK && ans.isJSON():
		if ans.cut {
			return nil, askAgainFailed, fmt.Errorf("load report: longer than %d bytes", maxBody)
		}
		r, err := ParseReport(ans.body)
		if err != nil {
			return nil, askAgainFailed, err
		}
		return r, 0, nil
	case ans.denied() && withSecret:
		return nil, askAgainFailed, fmt.Errorf("load report: the engine answered %d to our secret", ans.status)
	case ans.status < 500 || ans.status == http.StatusNotImplemented:
		return nil, askAgain, nil
	}
	return nil, askAgainFailed, fmt.Errorf("load report: the engine answered %d", ans.status)
}

func (a answer) denied() bool {
	return a.status == http.StatusUnauthorized || a.status == http.StatusForbidden
}

func (e *Engine) setReport(r *Report, pause time.Duration, err error) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	e.mu.Lock()
	now := e.now()
	if r != nil {
		r.Received = now
	}
	news := !r.equal(e.report) || why != e.reportErr
	failed := why != "" && e.reportErr == ""
	e.report, e.reportErr = r, why
	e.askAfter = now.Add(pause)
	e.mu.Unlock()
	if news {
		poke(e.changed)
	}
	if failed {
		e.log.Warn().Str(fieldError, why).Msg("engine gives no usable load report")
	}
}

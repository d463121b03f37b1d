package door

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/ushercluster/usher/agent/peer"
)

//go:embed status.html
var statusHTML string

// statusPage is what the status page tells: enough for a balancer and for a person
// who wonders, nothing that helps an attacker.
type statusPage struct {
	Status  string `json:"status"` // "ok", "stopping" or "no_engine"
	Node    string `json:"node"`
	Engines int    `json:"engines"`
	Healthy int    `json:"engines_healthy"`
	Open    int    `json:"engines_open"` // that take new sessions, as far as this door knows
	Stale   bool   `json:"stale"`        // what this door knows of the cluster is old
	// Note says why newcomers are refused while Status is "ok".
	Note string `json:"note,omitempty"`
}

// readStatus looks at the door and at the engines of all nodes. It asks nobody.
//
// A door whose engines take no new sessions, because all drain or are full, is still
// needed by those who have one: were it 503, a balancer would take all doors out and
// cut them off. So it stays 200, and Note tells.
func (d *Door) readStatus() (statusPage, int) {
	p := statusPage{Status: "ok", Node: d.nodeName(d.cfg.Self)}
	if dir := d.cfg.Directory(); dir != nil {
		p.Stale = dir.Stale
		var f field
		all := d.corrected(dir, "")
		f.sort(all, nil)
		for _, c := range all {
			if c.Status == peer.StatusAlive && c.Health == peer.Healthy {
				p.Healthy++
			}
		}
		p.Engines, p.Open = len(all), len(f.open)
		if why := f.closed.String(); p.Open == 0 && why != "" {
			p.Note = "no engine takes new sessions: " + why
		}
	}
	switch {
	case !d.life.serving.Load():
		p.Status = "stopping"
	case p.Healthy == 0:
		p.Status = "no_engine"
	default:
		return p, http.StatusOK
	}
	return p, http.StatusServiceUnavailable
}

// status answers the status page: JSON for programs, a small page for people.
func (d *Door) status(p *reply) {
	if p.r.Method != http.MethodGet && p.r.Method != http.MethodHead {
		p.page(problemMethod)
		return
	}
	s, code := d.readStatus()
	var body bytes.Buffer
	kind := "text/html; charset=utf-8"
	if wantsJSON(p.r) {
		kind = "application/json"
		_ = json.NewEncoder(&body).Encode(s) // a struct of plain values cannot fail
	} else if err := d.page.Execute(&body, s); err != nil {
		p.page(problemInternal)
		return
	}
	p.send(code, kind, body.Bytes())
}

// send answers with a small page of ours.
func (p *reply) send(code int, kind string, body []byte) {
	h := p.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'")
	p.last(h)
	p.renew()
	p.status = code
	p.w.WriteHeader(code)
	if p.r.Method != http.MethodHead {
		n, _ := p.w.Write(body) // a client that has gone is noticed by its connection
		p.bytes += int64(n)
	}
}

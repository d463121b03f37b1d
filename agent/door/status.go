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
	Stale   bool   `json:"stale"` // what this door knows of the cluster is old
}

// readStatus looks at the door and at the engines of all nodes. It asks nobody.
func (d *Door) readStatus() (statusPage, int) {
	p := statusPage{Status: "ok", Node: d.nodeName(d.cfg.Self)}
	if dir := d.cfg.Directory(); dir != nil {
		p.Stale = dir.Stale
		for _, c := range d.corrected(dir, "") {
			p.Engines++
			if c.Status == peer.StatusAlive && c.Health == peer.Healthy {
				p.Healthy++
			}
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
	p.renew()
	p.status = code
	p.w.WriteHeader(code)
	if p.r.Method != http.MethodHead {
		n, _ := p.w.Write(body) // a client that has gone is noticed by its connection
		p.bytes += int64(n)
	}
}

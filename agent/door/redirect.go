package door

import (
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/ushercluster/usher/agent/door/serve"
	"github.com/ushercluster/usher/agent/http1"
)

// redirectIdle is short: a browser asks here once.
const redirectIdle = 10 * time.Second

// redirector sends users who come in cleartext to the door that speaks TLS.
func (d *Door) redirector() *serve.Server {
	_, port, _ := net.SplitHostPort(d.cfg.Users.Addr().String())
	return serve.New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := hostOnly(r.Host)
		if host == "" { // HTTP/1.0
			problemHead.write(w, r, d.ids.next())
			return
		}
		if port != "443" {
			host = net.JoinHostPort(strings.Trim(host, "[]"), port)
		}
		h := w.Header()
		h.Set("Location", "https://"+host+r.RequestURI)
		h.Set("Cache-Control", "no-store") // the port may change
		h.Set("Content-Length", "0")
		w.WriteHeader(http.StatusPermanentRedirect) // which keeps method and body (RFC 9110 15.4.9)
	}), serve.Config{
		Begin: d.counts, Page: d.malformed, Head: headTimeout, Idle: redirectIdle, Now: d.wall, Log: d.log,
		Buffers: http1.NewBuffers(http1.Limits{Fields: maxHeadFields, Target: maxTargetLen}),
	})
}

// hostOnly is a Host without its port.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		if strings.Contains(h, ":") {
			return "[" + h + "]"
		}
		return h
	}
	return host
}

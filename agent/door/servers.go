package door

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/ushercluster/usher/agent/door/serve"
	"github.com/ushercluster/usher/agent/http1"
)

// servers are the sides of a door.
type servers struct {
	users, agents *serve.Server
	secure        *secure       // nil in cleartext
	redirect      *serve.Server // nil where there is none
}

// expressFunc is serve.Config.Express.
type expressFunc = func(*serve.Conn, *http1.Request) bool

func (d *Door) makeServers() {
	if d.cfg.TLS != nil {
		d.servers.secure = d.newSecure()
	}
	begin := d.begin
	if d.cfg.Redirect != nil {
		d.servers.redirect = d.redirector()
	}
	server := func(h http.HandlerFunc, express expressFunc, idle time.Duration, l http1.Limits) *serve.Server {
		s := serve.New(d.counted(h), serve.Config{
			Begin: begin, Page: d.malformed, Context: connContext, Buffers: http1.NewBuffers(l),
			Head: headTimeout, Idle: idle, Now: d.wall, Log: d.log,
		})
		s.Express = express
		return s
	}
	d.servers.users = server(d.serveUser, d.expressUser, keepAlive, http1.Limits{
		Head: maxHeadBytes, Fields: maxHeadFields, Target: maxTargetLen,
	})
	begin = nil // agents were seen to by the cluster port
	// The dialling side closes idle connections; this one only cleans up after it. A head
	// is what a user sent, and ours.
	d.servers.agents = server(d.serveAgent, d.expressAgent, 4*keepAlive, http1.Limits{
		Head: 2*maxHeadBytes - 1, Fields: 2 * maxHeadFields, Target: maxTargetLen,
	})
}

// begin takes a connection of a user, or does not.
func (d *Door) begin(nc net.Conn) bool {
	return d.counts(nc) && (d.servers.secure == nil || d.servers.secure.begin(nc.(*clientConn)))
}

// counts is begin without a handshake.
func (d *Door) counts(nc net.Conn) bool {
	c, ok := nc.(*clientConn)
	if !ok {
		_ = nc.Close()
		return false
	}
	return d.introduced(c) && d.admit(c)
}

// malformed answers what is no HTTP.
func (d *Door) malformed(w http.ResponseWriter, r *http.Request, bad *http1.Error) {
	d.turnDown(w, r, problemOf(bad))
	d.log.Debug().Str(fieldLogClient, r.RemoteAddr).Err(bad).Msg("request refused")
}

// turnDown answers a request that is not even looked at.
func (d *Door) turnDown(w http.ResponseWriter, r *http.Request, pr *problem) {
	p := d.newReply(w, r, d.settings())
	d.metrics.refuse(pr.Code)
	p.page(pr)
	d.metrics.answered(p.status, 0)
}

// counted keeps the gate, whatever becomes of the request.
func (d *Door) counted(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		d.gate.enter()
		defer d.gate.leave()
		h(w, r)
	}
}

// shutdownUsers closes what users arrive by, and waits for their requests.
func (d *Door) shutdownUsers(ctx context.Context) error {
	if s := d.servers.redirect; s != nil {
		if err := s.Shutdown(ctx); err != nil {
			return err
		}
	}
	err := d.servers.users.Shutdown(ctx)
	if s := d.servers.secure; s != nil {
		err = errors.Join(err, s.server.Shutdown(ctx))
	}
	return err
}

package agent

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/scheduler"
	"github.com/ushercluster/usher/fsm"
	"github.com/ushercluster/usher/transport"
)

// openAPI makes the admin API and wraps its TCP listener in TLS where the
// configuration has a certificate.
func (a *Agent) openAPI() error {
	a.adminServer = admin.New(admin.Config{
		Backend: backend{a}, Forwarder: a.forward, Hosts: a.apiHosts(), SocketUser: a.opts.SocketUser,
		ValidateTask: scheduler.Validate, ValidateSetting: validateSetting,
		NextDue: func(t fsm.Task, after time.Time, n int) []time.Time { return scheduler.Next(t, after, n) },
		Debug:   a.debug(),
		Metrics: promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{}),
		Now:     a.now, Log: logs.For(a.log, "admin"), Registerer: a.registry,
	})
	if a.api == nil || a.cfg.API.TLSCert == "" {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(a.cfg.API.TLSCert, a.cfg.API.TLSKey)
	if err != nil {
		return permanent(fmt.Errorf("admin API certificate: %w", err))
	}
	a.api = tls.NewListener(a.api, &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, Time: a.now,
	})
	return nil
}

// apiHosts are the names by which the TCP listener may be called.
func (a *Agent) apiHosts() []string {
	out := append([]string{}, a.cfg.API.Names...)
	for _, addr := range []string{a.cfg.API.Listen, a.advertise} {
		if host, _, err := net.SplitHostPort(addr); err == nil && host != "" {
			out = append(out, host)
		}
	}
	return out
}

// serveAdmin answers operators and other agents until ctx ends.
func (a *Agent) serveAdmin(ctx context.Context) error {
	g := newGroup(ctx)
	g.Go("calls of other nodes", func(ctx context.Context) error {
		return a.adminServer.ServePeers(ctx, a.port.Listen(transport.ProtoAPI), func(c net.Conn) (peer.ID, peer.Class, bool) {
			id, ok := transport.PeerOf(c)
			return id.ID, id.Class, ok
		})
	})
	if a.socket != nil {
		g.Go("socket", func(ctx context.Context) error { return a.adminServer.ServeLocal(ctx, a.socket) })
	}
	if a.api != nil {
		g.Go("tcp", func(ctx context.Context) error { return a.adminServer.ServeTCP(ctx, a.api) })
	}
	<-g.ctx.Done()
	return g.stop()
}

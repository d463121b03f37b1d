package door

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/door/tunnel"
	"github.com/ushercluster/usher/agent/door/upstream"
	"github.com/ushercluster/usher/agent/peer"
)

// passage is a WebSocket on its way through this agent. The handler of its request has
// returned, and of the request there is left what this holds.
type passage struct {
	d      *Door
	w      *tunnel.Tunnel
	engine peer.EngineID
	lease  *lease // nil when the engine is not beside this agent
	user   bool   // the request is a user's, not another agent's
	began  time.Time
	line   *accessLine // of the access log; nil for none
}

// tunnel opens a WebSocket between the client and resp's connection, which leads to node,
// and returns. The passage ends what its request began. On an error it has not begun. With
// ping 0 the user is not here but at another door.
func (d *Door) tunnel(p *reply, resp *upstream.Response, ping time.Duration, node peer.ID, g *passage) error {
	cc, early, err := p.hijack(resp)
	if err != nil {
		_ = resp.Conn.Close()
		return &clientError{err}
	}
	t := d.settings().Traffic
	if ping == 0 {
		t.WebSocketIdle = 0 // only the door where the user arrived measures it
	}
	if g.d = d; p.depart != nil {
		p.depart(g)
	}
	g.enter()
	d.tunnels.Start(tunnel.Config{
		Client: cc, Server: resp.Conn, ClientBuffered: early, ServerBuffered: slices.Clone(resp.Buffered),
		Ping: ping, IdleTimeout: t.WebSocketIdle, End: g.leave,
	}, func(w *tunnel.Tunnel) { g.open(w, node) })
	return nil
}

// enter counts the passage in.
func (g *passage) enter() {
	g.d.gate.enter()
	g.d.metrics.websockets.Inc()
	if g.user {
		g.d.metrics.inFlight.Inc()
	}
}

// open makes the WebSocket known to whoever may have to close it.
func (g *passage) open(w *tunnel.Tunnel, node peer.ID) {
	g.w = w
	g.d.sockets.add(w, node)
	if g.lease != nil && !g.d.owner.table.attach(g.lease.row, w, g.d.cfg.Now().UnixNano()) {
		w.Shutdown(closeServiceRestart, closeGrace)
	}
}

// leave ends it.
func (g *passage) leave(s tunnel.Stats, err error) {
	d := g.d
	defer d.gate.leave()
	d.sockets.remove(g.w)
	if g.lease != nil {
		d.owner.table.detach(g.lease.row, g.w, d.cfg.Now().UnixNano())
		g.lease.end()
	}
	d.metrics.websockets.Dec()
	if !errors.Is(err, tunnel.ErrClosed) {
		d.cutShort(g.engine, "answer_cut", err)
	}
	if !g.user {
		return
	}
	d.metrics.inFlight.Dec()
	took := d.cfg.Now().Sub(g.began)
	d.metrics.answered(http.StatusSwitchingProtocols, took)
	if g.line != nil {
		g.line.write(&d.cfg.AccessLog, http.StatusSwitchingProtocols, s.BytesToClient, took)
	}
}

// hijack takes the connection over and sends the 101 of resp on it. It returns what
// the client has sent already.
func (p *reply) hijack(resp *upstream.Response) (*clientConn, []byte, error) {
	h := resp.Header.Clone()
	if p.edit != nil {
		p.edit(h)
	}
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	nc, rw, err := p.rc.Hijack()
	if err != nil {
		return nil, nil, err
	}
	cc, ok := nc.(*clientConn)
	if !ok {
		_ = nc.Close()
		return nil, nil, errors.New("hijacked a connection that the door did not accept")
	}
	p.status, cc.checked = http.StatusSwitchingProtocols, nil
	early, err := rw.Reader.Peek(rw.Reader.Buffered())
	if err == nil {
		err = nc.SetDeadline(p.now().Add(p.idle + renewEvery))
	}
	if err == nil {
		_, err = nc.Write(appendSwitch(nil, h))
	}
	if err != nil {
		_ = nc.Close()
		return nil, nil, err
	}
	return cc, slices.Clone(early), nil
}

// appendSwitch writes a 101 head, whose fields were checked when they were read.
func appendSwitch(b []byte, h http.Header) []byte {
	b = append(b, "HTTP/1.1 101 Switching Protocols\r\n"...)
	for name, values := range h {
		for _, v := range values {
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, v...)
			b = append(b, "\r\n"...)
		}
	}
	return append(b, "\r\n"...)
}

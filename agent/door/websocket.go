package door

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/door/upstream"
)

// tunnel runs a WebSocket until it ends; watch is told of it before it begins.
func (d *Door) tunnel(p *reply, resp *upstream.Response, ping time.Duration, watch func(socket) (stop func())) error {
	cc, early, err := p.hijack(resp)
	if err != nil {
		_ = resp.Conn.Close()
		return &clientError{err}
	}
	t := d.settings().Traffic
	if ping == 0 {
		t.WebSocketIdle = 0 // only the door where the user arrived measures it
	}
	w := upstream.NewTunnel(upstream.TunnelConfig{
		Client: cc, Server: resp.Conn, ClientBuffered: early, ServerBuffered: resp.Buffered,
		Ping: ping, IdleTimeout: t.WebSocketIdle, Buffers: &d.buffers, Now: d.cfg.Now,
	})
	stop := watch(w)
	defer stop()
	d.metrics.websockets.Inc()
	defer d.metrics.websockets.Dec()
	stats, err := w.Run(d.life.ctx)
	p.bytes += stats.BytesToClient
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
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
	p.status = http.StatusSwitchingProtocols
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

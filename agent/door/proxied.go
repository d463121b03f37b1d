package door

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"

	"github.com/ushercluster/usher/agent/proxyproto"
)

// With Config.ProxyProtocol nobody reaches this door but through proxies, which pass
// connections on as they are and say first whose (agent/proxyproto). Only trusted networks
// may say so, and they have to: a header that may be there or not would let users write it
// themselves. The header is read off the socket before TLS and HTTP see it, to its last
// byte and no further, so that nothing is wrapped around the socket: from there on the
// connection is as any other, but that its remote address is the one that was stated.

// errStranger says why a connection is not taken.
var errStranger = errors.New("with door.proxy_protocol on, users come through door.trusted_networks only")

// introduced reads whose connection it is, where a proxy has to say so, or closes it. It is
// called under the limit of a head. Connections are counted after it: who may keep it waiting
// is trusted.
func (d *Door) introduced(c *clientConn) bool {
	if !d.cfg.ProxyProtocol {
		return true
	}
	err := d.introduce(c)
	if err != nil {
		_ = c.Close()
		d.notIntroduced(c, err)
	}
	return err == nil
}

func (d *Door) introduce(c *clientConn) error {
	if !c.trusts(d.settings()) {
		return errStranger
	}
	h, err := proxyproto.Read(c.socket())
	if err != nil {
		return err
	}
	c.told = &h
	c.remote, c.judged = clientAddr{}, nil // were the proxy's
	return nil
}

// notIntroduced counts and logs what was refused. A connection that says nothing is no fault:
// balancers look so whether a port is open.
func (d *Door) notIntroduced(c *clientConn, err error) {
	code := introductionCode(err)
	if code == "" {
		d.log.Debug().Bytes(fieldLogClient, c.addr().text).Err(err).Msg("connection ended before its PROXY protocol header")
		return
	}
	d.metrics.refuse(code)
	show, hidden := d.damper.See(code, d.wall())
	if !show {
		return
	}
	if errors.Is(err, proxyproto.ErrMissing) {
		err = fmt.Errorf("%w: have the proxy send one, or turn door.proxy_protocol off", err)
	}
	d.log.Warn().Bytes(fieldLogClient, c.addr().text).Str(fieldLogCode, code).Err(err).
		Uint64("repeated", hidden).Msg("connection of a user refused")
}

// introductionCode is the reason in the metrics, "" for none.
func introductionCode(err error) string {
	var bad *proxyproto.Error
	switch {
	case errors.Is(err, errStranger):
		return "proxy_protocol_untrusted"
	case errors.Is(err, proxyproto.ErrMissing):
		return "proxy_protocol_missing"
	case errors.As(err, &bad), errors.Is(err, io.ErrUnexpectedEOF):
		return "proxy_protocol_malformed"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "proxy_protocol_late"
	}
	return ""
}

// socket is what is below TLS.
func (c *clientConn) socket() net.Conn {
	if tc, ok := c.Conn.(*tls.Conn); ok {
		return tc.NetConn()
	}
	return c.Conn
}

// RemoteAddr is the user's end of the connection, as the proxy says, or else the other end.
func (c *clientConn) RemoteAddr() net.Addr {
	if c.told != nil && c.told.Source.IsValid() {
		return net.TCPAddrFromAddrPort(c.told.Source)
	}
	return c.Conn.RemoteAddr()
}

// networks are those that may speak for users over this connection: none where a proxy passes
// it on without knowing whose it is, for its own address is not the user's then.
func (c *clientConn) networks(set *Settings) []netip.Prefix {
	if c.told != nil && !c.told.Local && !c.told.Source.IsValid() {
		return nil
	}
	return set.TrustedNetworks
}

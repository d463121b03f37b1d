package membership

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/peer"
)

// Config is what Open needs. Contacts, Now and Registerer may be nil.
type Config struct {
	Self    peer.ID
	Boot    uint64 // counts the starts of this node; the highest wins
	Name    string // shown to people; shortened to 63 bytes
	Version string // of this binary; shortened to 64 bytes
	Class   peer.Class

	// Advertise is the host:port where others reach us. The host is an IP address
	// or a DNS name, which is then resolved by those who dial.
	Advertise string

	// Packets and Streams accept connections that are authenticated already. Open
	// takes them over, also when it fails: they are closed with the Membership.
	Packets, Streams net.Listener

	// Dial connects to a node, for packets or for one stream. to is empty when only
	// an address is known; else the other side must prove to be that node. It
	// resolves names and respects ctx.
	Dial func(ctx context.Context, to peer.ID, addr string, stream bool) (net.Conn, error)

	// Contacts are addresses to join while they are not alive members. It is called
	// every 15 s and must not block.
	Contacts func() []string

	// PeerOf says who the other end of a connection proved to be. It is asked about
	// what Packets and Streams accept, and about what Dial returned; it may not know
	// the latter.
	PeerOf func(net.Conn) (peer.ID, bool)

	Now        func() time.Time // stamps Since and Received; nil is time.Now
	Log        zerolog.Logger
	Registerer prometheus.Registerer
}

// maxHost is the longest DNS name in text form (RFC 1035, section 2.3.4).
const maxHost = 253

// check validates c and fills in what was left out.
func (c *Config) check() error {
	switch {
	case !c.Self.Valid():
		return fmt.Errorf("node id %q is malformed", c.Self)
	case c.Packets == nil, c.Streams == nil, c.Dial == nil, c.PeerOf == nil:
		return errors.New("listeners, Dial and PeerOf are required")
	}
	if _, _, err := splitAddr(c.Advertise); err != nil {
		return fmt.Errorf("advertise address %q: %w", c.Advertise, err)
	}
	if c.Contacts == nil {
		c.Contacts = func() []string { return nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// splitAddr reads a host:port that others can dial.
func splitAddr(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, errors.New("want host:port")
	}
	p, err := strconv.ParseUint(text, 10, 16)
	if err != nil || p == 0 {
		return "", 0, errors.New("the port must be a number from 1 to 65535")
	}
	if host == "" || len(host) > maxHost {
		return "", 0, fmt.Errorf("the host must have 1 to %d characters", maxHost)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return "", 0, errors.New("give the address that others dial, not the one for all interfaces")
	}
	return host, int(p), nil
}

// advertised is the address in the form that memberlist knows. A DNS name is
// represented by an address that leads nowhere (RFC 6666); the name itself
// travels in the node's metadata.
func advertised(addr string) (ip net.IP, port int, err error) {
	host, port, err := splitAddr(addr)
	if err != nil {
		return nil, 0, err
	}
	if ip = net.ParseIP(host); ip == nil {
		return placeholder(), port, nil
	}
	if v4 := ip.To4(); v4 != nil {
		ip = v4
	}
	return ip, port, nil
}

func placeholder() net.IP { return net.IP{0x01, 0x00, 15: 0x01} } // 100::1

// packetSize is how much memberlist puts into one packet. A larger one could hold
// more than the 255 messages that its compound header counts.
const packetSize = 8 << 10

// tuned is memberlist's configuration: its defaults for a local network, except
// where there is a reason.
func tuned(c Config, f *fabric, d *delegate) *memberlist.Config {
	mc := memberlist.DefaultLANConfig()
	mc.Name = nodeName(c.Self, c.Boot)
	mc.Transport = f
	mc.Delegate, mc.Events, mc.Alive, mc.Merge, mc.Conflict = d, d, d, d, d
	mc.Logger = quiet(c.Log)
	mc.LogOutput = nil

	// Every send names the node, so that its certificate is always checked.
	mc.RequireNodeNames = true
	// A packet is a stream already: a second try over a stream tells nothing new.
	mc.DisableTcpPings = true
	// Half of the probe's interval: enough for a first packet that needs a TCP and
	// a TLS handshake, and as much again for the indirect probes.
	mc.ProbeTimeout = 500 * time.Millisecond
	mc.ProbeInterval = time.Second
	mc.PushPullInterval = 15 * time.Second
	mc.GossipToTheDeadTime = 30 * time.Second
	mc.TCPTimeout = streamTimeout
	mc.UDPBufferSize = packetSize
	mc.EnableCompression = false // LZW would cost more than the bytes
	return mc
}

// metaOf is what this node tells about itself.
func metaOf(c Config) meta {
	m := meta{Name: c.Name, Version: c.Version, Class: c.Class}
	if host, _, _ := net.SplitHostPort(c.Advertise); net.ParseIP(host) == nil {
		m.Addr = c.Advertise
	}
	return m
}

func closeAll(closers ...io.Closer) error {
	var errs []error
	for _, c := range closers {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

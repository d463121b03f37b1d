package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// maxSocketPath fits sockaddr_un on every system: 104 bytes on darwin with the
// closing zero.
const maxSocketPath = 103

// Validate checks everything that can be told without touching the machine. The
// error is Problems and holds all that is wrong; Locate adds the places. The URLs of
// engines are checked where they are opened.
func (c Config) Validate() error {
	v := &checker{}
	v.node(c)
	v.cluster(c.Cluster)
	v.door(c.Door)
	v.api(c.API)
	v.ports(c)
	v.engines(c)
	v.process(c)
	return v.problems.orNil()
}

type checker struct{ problems Problems }

func (v *checker) add(key, next, what string, args ...any) {
	v.problems = append(v.problems, Problem{Key: key, What: fmt.Sprintf(what, args...), Next: next})
}

func (v *checker) node(c Config) {
	if c.DataDir == "" {
		v.add("data_dir", "give --data-dir DIR", "there is no data directory")
	}
	switch {
	case c.Node.Name == "":
		v.add("node.name", "give --name NAME", "the machine's name cannot be used")
	case !peer.ValidName(c.Node.Name):
		v.add("node.name", "use 1 to 63 of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit", "%q is no name", clip(c.Node.Name))
	}
}

func (v *checker) cluster(c Cluster) {
	v.listen("cluster.bind", c.Bind)
	if c.Advertise != "" {
		if _, err := parseAdvertise(c.Advertise); err != nil {
			v.add("cluster.advertise", "give an address, an interface's name or a network, with an optional :port", "%v", err)
		}
	}
	for _, j := range c.Join {
		if !validContact(j) {
			v.add("cluster.join", "give HOST or HOST:PORT of a member, the port by default "+DefaultClusterPort, "%q is no address", clip(j))
		}
	}
	if c.ElectionTimeout < 50*time.Millisecond || c.ElectionTimeout > time.Minute {
		v.add("cluster.election_timeout", "use 50ms to 1m, the same on all nodes", "%s is out of range", c.ElectionTimeout)
	}
}

func (v *checker) door(d Door) {
	v.listen("door.listen", d.Listen)
	v.doorTLS(d)
	if d.PublicName != "" && !validHost(d.PublicName) {
		v.add("door.public_name", "give a host name or an address, without scheme and path", "%q is no host name", clip(d.PublicName))
	}
}

func (v *checker) doorTLS(d Door) {
	switch {
	case len(d.TLSCerts) != len(d.TLSKeys):
		v.add("door.tls_cert", "give one --door-key for each --door-cert, in the same order", "%d certificates and %d keys do not go together", len(d.TLSCerts), len(d.TLSKeys))
	case slices.Contains(d.TLSCerts, "") || slices.Contains(d.TLSKeys, ""):
		v.add("door.tls_cert", "give the name of a PEM file", "the name of a file is empty")
	case d.Redirect != "" && len(d.TLSCerts) == 0:
		v.add("door.redirect", "give --door-cert and --door-key, or leave --door-redirect out", "there is no TLS to send users to")
	}
	if d.Redirect != "" {
		v.listen("door.redirect", d.Redirect)
	}
}

func (v *checker) api(a API) {
	if a.Listen == "" && a.Socket == "" {
		v.add("api.socket", "leave one of --api and --socket on", "neither a socket nor a port is left for the admin API")
	}
	if len(a.Socket) > maxSocketPath {
		v.add("api.socket", "give a shorter path with --socket, or --socket off", "the path has %d bytes and may have %d", len(a.Socket), maxSocketPath)
	}
	if (a.TLSCert == "") != (a.TLSKey == "") {
		v.add("api.tls_cert", "give both --api-cert and --api-key, or neither", "certificate and key belong together")
	}
	if a.Listen != "" && v.listen("api.listen", a.Listen) && a.TLSCert == "" && a.TLSKey == "" && !loopback(a.Listen) {
		v.add("api.listen", "give --api-cert and --api-key, or listen on 127.0.0.1", "%s can be reached from other machines, and tokens must not travel in the clear", a.Listen)
	}
	for _, n := range a.Names {
		if !validHost(n) {
			v.add("api.names", "give a host name or an address, without port", "%q is no host name", clip(n))
		}
	}
}

// ports finds two listeners that cannot both be had.
func (v *checker) ports(c Config) {
	all := []struct{ key, addr string }{
		{"cluster.bind", c.Cluster.Bind}, {"door.listen", c.Door.Listen}, {"api.listen", c.API.Listen}, {"door.redirect", c.Door.Redirect},
	}
	for i, a := range all {
		for _, b := range all[:i] {
			if overlap(a.addr, b.addr) {
				v.add(a.key, "give one of the two another port", "%s is taken by %s", a.addr, b.key)
			}
		}
	}
}

func (v *checker) engines(c Config) {
	if len(c.Engines) > 1 && slices.Contains(c.Engines, NoEngine) {
		v.add("engines", "give either none or engines", "%q stands beside other engines", NoEngine)
	}
	if slices.Contains(c.Engines, "") {
		v.add("engines", "give a URL such as http://127.0.0.1:3838", "an engine is empty")
	}
	switch {
	case c.HasBuiltin() && c.Engine.Documents == "":
		v.add("engine.documents", "give --documents DIR", "the built-in engine needs a directory of CSV files")
	case !c.HasBuiltin() && c.Engine.Documents != "":
		v.add("engine.documents", "give --engine builtin too, or leave the directory out", "only the built-in engine reads documents")
	}
	if h := c.Engine.Health; h != "tcp" && (!strings.HasPrefix(h, "/") || strings.ContainsAny(h, " #\t\r\n")) {
		v.add("engine.health", "give a path such as /healthz, or tcp", "%q is no path", clip(h))
	}
}

func isBuiltin(engine string) bool {
	return engine == "builtin" || strings.HasSuffix(engine, "=builtin") && !strings.Contains(engine, "://")
}

func (v *checker) process(c Config) {
	if _, err := logs.ParseLevel(c.Log.Level); err != nil {
		v.add("log.level", "use debug, info, warn or error", "%q is no level", clip(c.Log.Level))
	}
	if f := logs.Format(c.Log.Format); f != logs.JSON && f != logs.Console {
		v.add("log.format", "use json or console", "%q is no format", clip(c.Log.Format))
	}
	if c.Stop.Timeout < 0 || c.Stop.Timeout > time.Hour {
		v.add("stop.timeout", "use 0s to 1h", "%s is out of range", c.Stop.Timeout)
	}
}

// listen checks a host:port to listen on and reports whether it is one.
func (v *checker) listen(key, addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	_, portErr := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil:
		v.add(key, "write HOST:PORT, or :PORT for all addresses", "%q is no address", clip(addr))
	case portErr != nil:
		v.add(key, "use a port from 1 to 65535", "%q has no valid port", clip(addr))
	case host != "" && host != "localhost" && !validIP(host):
		v.add(key, "listen on an address of this machine, or leave the host out for all of them", "%q is a name, not an address", clip(host))
	default:
		return true
	}
	return false
}

// overlap reports whether two listeners want the same port of the same address.
func overlap(a, b string) bool {
	ah, ap, err := net.SplitHostPort(a)
	if err != nil {
		return false
	}
	bh, bp, err := net.SplitHostPort(b)
	if err != nil || ap != bp || ap == "0" {
		return false
	}
	return ah == bh || wildcard(ah) || wildcard(bh)
}

func wildcard(host string) bool {
	if host == "" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsUnspecified()
}

// loopback reports whether a host:port can be reached from this machine only.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

func validIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// validHost accepts an IP address or a host name (RFC 1123), in either case.
func validHost(s string) bool {
	if validIP(s) {
		return true
	}
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.ToLower(strings.TrimSuffix(s, ".")), ".") {
		if !peer.ValidName(label) {
			return false
		}
	}
	return true
}

// validContact accepts host, host:port and [v6]:port.
func validContact(s string) bool {
	if validHost(s) {
		return true
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || !validHost(host) {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// clip keeps a hostile value from filling the screen.
func clip(s string) string {
	if len(s) > 80 {
		return s[:77] + "..."
	}
	return s
}

package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Interface is what Advertise needs to know of a network interface.
type Interface struct {
	Name     string
	Up       bool
	Loopback bool
	Addrs    []netip.Prefix // with the network's length
}

// Interfaces lists the machine's network interfaces.
func Interfaces() ([]Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	var out []Interface
	for _, n := range all {
		i := Interface{Name: n.Name, Up: n.Flags&net.FlagUp != 0, Loopback: n.Flags&net.FlagLoopback != 0}
		addrs, err := n.Addrs()
		if err != nil {
			return nil, fmt.Errorf("list addresses of interface %s: %w", n.Name, err)
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				i.Addrs = append(i.Addrs, netip.PrefixFrom(p.Addr().Unmap().WithZone(""), p.Bits()))
			}
		}
		out = append(out, i)
	}
	return out, nil
}

// ErrAdvertise is wrapped by every error of Advertise: other nodes would not find
// this one, and only the operator knows better.
var ErrAdvertise = errors.New("no address to advertise")

// AdvertiseAddr is Advertise for a configuration whose cluster port listens on
// bind (with the port that it really got). A bind to one address, loopback
// included, is advertised unless the operator said otherwise.
func AdvertiseAddr(spec, bind string, ifaces []Interface) (string, error) {
	host, port, err := net.SplitHostPort(bind)
	if err != nil {
		return "", fmt.Errorf("%w: listener %q: %w", ErrAdvertise, bind, err)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if spec == "" && !wildcard(host) {
		spec = host
	}
	return Advertise(spec, port, ifaces)
}

// Advertise finds the host:port by which other nodes reach this one. spec is an
// address, an interface's name or a network in CIDR form, each with an optional
// port ("10.0.0.5", "[fd00::5]:14747", "eth1:14800", "10.0.0.0/8"); port is used
// when it names none. With an empty spec the only global unicast address of the
// interfaces that are up is taken; several or none are an error that lists every
// candidate with the flag to use. Loopback is taken when spec says so explicitly;
// unspecified and multicast addresses are refused.
func Advertise(spec, port string, ifaces []Interface) (string, error) {
	want, err := parseAdvertise(spec)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrAdvertise, err)
	}
	if want.port != "" {
		port = want.port
	}
	if want.addr.IsValid() {
		return net.JoinHostPort(want.addr.String(), port), nil
	}
	candidates := want.candidates(ifaces)
	if len(candidates) != 1 {
		return "", want.undecided(candidates, ifaces)
	}
	return net.JoinHostPort(candidates[0].addr.String(), port), nil
}

// advertiseSpec is a parsed spec; exactly one of the first three is set, or none
// for the empty spec.
type advertiseSpec struct {
	addr    netip.Addr
	network netip.Prefix
	iface   string
	port    string
}

func parseAdvertise(spec string) (advertiseSpec, error) {
	var s advertiseSpec
	host := spec
	if h, p, err := net.SplitHostPort(spec); err == nil {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return s, fmt.Errorf("port %q: use 1 to 65535", clip(p))
		}
		host, s.port = h, p
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.Contains(host, "/") {
		p, err := netip.ParsePrefix(host)
		if err != nil {
			return s, fmt.Errorf("%q is no network: write it like 10.0.0.0/8", clip(host))
		}
		s.network = p.Masked()
		return s, nil
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil && (len(host) > 15 || strings.ContainsAny(host, " \t\r\n")):
		return s, fmt.Errorf("%q is no address, interface or network: names are not resolved here, since the address behind one may change", clip(host))
	case err != nil:
		s.iface = host // "" is the empty spec
	case ip.IsUnspecified():
		return s, fmt.Errorf("%s is every address and none: nobody can dial it", ip)
	case ip.IsMulticast():
		return s, fmt.Errorf("%s is a multicast address: nobody can dial it", ip)
	default:
		s.addr = ip.Unmap()
	}
	return s, nil
}

type candidate struct {
	iface string
	addr  netip.Addr
}

func (s advertiseSpec) candidates(ifaces []Interface) []candidate {
	var out []candidate
	for _, i := range ifaces {
		for _, p := range i.Addrs {
			if i.Up && s.accepts(i, p.Addr()) {
				out = append(out, candidate{i.Name, p.Addr()})
			}
		}
	}
	if s.iface == "" {
		return out
	}
	// An interface that was named usually has addresses of both families.
	if v4 := slices.DeleteFunc(slices.Clone(out), func(c candidate) bool { return !c.addr.Is4() }); len(v4) > 0 {
		return v4
	}
	return out
}

// accepts reports whether addr of interface i may be advertised. Link-local
// addresses need a zone and cannot be dialled by others without one.
func (s advertiseSpec) accepts(i Interface, addr netip.Addr) bool {
	switch {
	case s.network.IsValid():
		return s.network.Contains(addr) && !addr.IsLinkLocalUnicast()
	case s.iface != "":
		return i.Name == s.iface && !addr.IsLinkLocalUnicast()
	}
	return addr.IsGlobalUnicast() && !i.Loopback
}

// undecided says why there is not exactly one candidate, and lists what can be
// chosen instead.
func (s advertiseSpec) undecided(found []candidate, ifaces []Interface) error {
	what := "this machine has %s"
	switch {
	case s.network.IsValid():
		what = "network " + s.network.String() + " holds %s"
	case s.iface != "":
		what = "interface " + strconv.Quote(clip(s.iface)) + " has %s"
	}
	number := "no address that others can dial"
	if len(found) > 0 {
		number = fmt.Sprintf("%d addresses", len(found))
	} else {
		found = advertiseSpec{}.candidates(ifaces)
	}
	text := fmt.Sprintf(what, number)
	if len(found) == 0 {
		return fmt.Errorf("%w: %s: give the address with --advertise; 127.0.0.1 is enough for nodes on this machine alone", ErrAdvertise, text)
	}
	var b strings.Builder
	for _, c := range found {
		fmt.Fprintf(&b, "\n  --advertise %-24s (%s)", c.addr, c.iface)
	}
	return fmt.Errorf("%w: %s: choose one with%s", ErrAdvertise, text, b.String())
}

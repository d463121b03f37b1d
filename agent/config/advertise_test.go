package config

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func ifaces(t *testing.T, specs ...string) []Interface {
	t.Helper()
	var out []Interface
	for _, s := range specs {
		name, addrs, _ := strings.Cut(s, " ")
		i := Interface{Name: strings.TrimPrefix(name, "!"), Up: !strings.HasPrefix(name, "!"), Loopback: name == "lo"}
		for _, a := range strings.Fields(addrs) {
			i.Addrs = append(i.Addrs, netip.MustParsePrefix(a))
		}
		out = append(out, i)
	}
	return out
}

func TestAdvertise(t *testing.T) {
	one := []string{"lo 127.0.0.1/8 ::1/128", "eth0 10.0.0.5/24 fe80::1/64", "!eth1 10.0.1.5/24"}
	two := []string{"lo 127.0.0.1/8", "eth0 10.0.0.5/24 fd00::5/64", "docker0 172.17.0.1/16"}
	tests := []struct {
		name, spec, bind string
		ifaces           []string
		want             string // or the error's text
		bad              bool
	}{
		{name: "the only one", ifaces: one, want: "10.0.0.5:14747"},
		{name: "the only one, other bind port", bind: ":99", ifaces: one, want: "10.0.0.5:99"},
		{name: "address", spec: "192.0.2.7", ifaces: one, want: "192.0.2.7:14747"},
		{name: "address and port", spec: "192.0.2.7:5", ifaces: one, want: "192.0.2.7:5"},
		{name: "v6", spec: "2001:db8::1", ifaces: one, want: "[2001:db8::1]:14747"},
		{name: "v6 and port", spec: "[2001:db8::1]:5", ifaces: one, want: "[2001:db8::1]:5"},
		{name: "mapped", spec: "::ffff:192.0.2.7", ifaces: one, want: "192.0.2.7:14747"},
		{name: "loopback said", spec: "127.0.0.1", ifaces: one, want: "127.0.0.1:14747"},
		{name: "loopback bound", bind: "127.0.0.1:7", ifaces: one, want: "127.0.0.1:7"},
		{name: "localhost bound", bind: "localhost:7", ifaces: one, want: "127.0.0.1:7"},
		{name: "one address bound", bind: "10.0.0.9:7", ifaces: two, want: "10.0.0.9:7"},
		{name: "bound wide, many", bind: "[::]:7", ifaces: one, want: "10.0.0.5:7"},
		{name: "interface", spec: "docker0", ifaces: two, want: "172.17.0.1:14747"},
		{name: "interface and port", spec: "docker0:1", ifaces: two, want: "172.17.0.1:1"},
		{name: "interface prefers v4", spec: "eth0", ifaces: two, want: "10.0.0.5:14747"},
		{name: "loopback interface", spec: "lo", ifaces: two, want: "127.0.0.1:14747"},
		{name: "network", spec: "172.16.0.0/12", ifaces: two, want: "172.17.0.1:14747"},
		{name: "network and port", spec: "fd00::/8", ifaces: two, want: "[fd00::5]:14747"},
		{name: "v6 network and port", spec: "[fd00::/8]:3", ifaces: two, want: "[fd00::5]:3"},

		{name: "several", ifaces: two, bad: true, want: "no address to advertise: this machine has 3 addresses: choose one with\n" +
			"  --advertise 10.0.0.5                 (eth0)\n  --advertise fd00::5                  (eth0)\n  --advertise 172.17.0.1               (docker0)"},
		{name: "none", ifaces: one[:1], bad: true, want: "no address to advertise: this machine has no address that others can dial: give the address with --advertise; 127.0.0.1 is enough for nodes on this machine alone"},
		{name: "interface down", spec: "eth1", ifaces: one, bad: true, want: "no address to advertise: interface \"eth1\" has no address that others can dial: choose one with\n  --advertise 10.0.0.5                 (eth0)"},
		{name: "no such network", spec: "192.168.0.0/16", ifaces: one, bad: true, want: "no address to advertise: network 192.168.0.0/16 holds no address that others can dial: choose one with\n  --advertise 10.0.0.5                 (eth0)"},
		{name: "unspecified", spec: "0.0.0.0", ifaces: one, bad: true, want: "no address to advertise: 0.0.0.0 is every address and none: nobody can dial it"},
		{name: "unspecified v6", spec: "[::]:1", ifaces: one, bad: true, want: "no address to advertise: :: is every address and none: nobody can dial it"},
		{name: "multicast", spec: "224.0.0.1", ifaces: one, bad: true, want: "no address to advertise: 224.0.0.1 is a multicast address: nobody can dial it"},
		{name: "name", spec: "bi-1.example.com:14747", ifaces: one, bad: true, want: "no address to advertise: \"bi-1.example.com\" is no address, interface or network: names are not resolved here, since the address behind one may change"},
		{name: "bad port", spec: "10.0.0.1:0", ifaces: one, bad: true, want: "no address to advertise: port \"0\": use 1 to 65535"},
		{name: "bad network", spec: "10.0.0.0/99", ifaces: one, bad: true, want: "no address to advertise: \"10.0.0.0/99\" is no network: write it like 10.0.0.0/8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.bind == "" {
				tt.bind = ":14747"
			}
			got, err := AdvertiseAddr(tt.spec, tt.bind, ifaces(t, tt.ifaces...))
			if tt.bad {
				if !errors.Is(err, ErrAdvertise) {
					t.Fatalf("got %q, %v", got, err)
				}
				got = err.Error()
			} else if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestInterfacesHasLoopback(t *testing.T) {
	all, err := Interfaces()
	if err != nil {
		t.Skip("this machine does not tell:", err)
	}
	for _, i := range all {
		if i.Loopback && len(i.Addrs) > 0 {
			return
		}
	}
	t.Errorf("no loopback interface in %+v", all)
}

func FuzzAdvertise(f *testing.F) {
	for _, s := range []string{"", "10.0.0.1:1", "[::1]:2", "eth0", "10.0.0.0/8:3", "[fe80::1%eth0]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		got, err := Advertise(spec, "14747", []Interface{{Name: "eth0", Up: true, Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.5/24")}}})
		if err != nil {
			return
		}
		a, err := netip.ParseAddrPort(got)
		if err != nil || a.Addr().IsUnspecified() || a.Addr().IsMulticast() || a.Port() == 0 {
			t.Errorf("%q became %q", spec, got)
		}
	})
}

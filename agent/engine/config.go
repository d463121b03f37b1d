package engine

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/ushercluster/usher/agent/peer"
)

// DefaultPrefix is where engines offer the engine API unless configured
// otherwise. It lies below /.well-known/ (RFC 8615), and the door never forwards
// a user's request to it.
const DefaultPrefix = "/.well-known/usher/"

// Config says what an engine is and how to talk to it.
type Config struct {
	// Name is the engine's name on its node: see peer.ValidName.
	Name string

	// URL is scheme http or https and host:port, nothing else. It is nil for the
	// built-in engine as it comes out of ParseFlag: whoever starts that engine
	// fills in where it listens.
	URL *url.URL

	// Builtin says that the agent itself runs this engine.
	Builtin bool

	// HostHeader replaces the Host that users asked for; empty preserves it.
	HostHeader string

	// MaxSessions is how many sessions the engine may hold; 0 is no limit.
	MaxSessions int

	Health Probe
	API    API
}

// ProbeKind is a way to find out whether an engine is well.
type ProbeKind string

// The kinds of probe.
const (
	ProbeHTTP ProbeKind = "http" // GET Path answers
	ProbeTCP  ProbeKind = "tcp"  // a connection is accepted
)

// Probe is how an engine's health is asked. The zero value is GET / with any
// status below 500: a login redirect or a 401 is an answer of a healthy engine.
type Probe struct {
	Kind   ProbeKind // empty is ProbeHTTP
	Path   string    // origin-form, may hold a query; empty is "/"; unused for ProbeTCP
	Status int       // the only good status; 0 is any below 500
}

// API is how the engine API is reached. The zero value asks for it below
// DefaultPrefix, without a secret.
type API struct {
	Off    bool   // never ask
	Prefix string // begins and ends with '/'; empty is DefaultPrefix

	// SecretFile holds a secret that is sent as "Authorization: Bearer ..."
	// (RFC 6750). It is read for every call, so that it can be changed at any
	// time. Empty sends none.
	SecretFile string
}

// normalize checks c and fills in the defaults.
func (c Config) normalize() (Config, error) {
	if !peer.ValidName(c.Name) {
		return c, fmt.Errorf("engine name %q: use 1 to 63 of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit", c.Name)
	}
	if c.URL == nil {
		return c, fmt.Errorf("engine %s: it has no URL", c.Name)
	}
	u, err := checkURL(c.URL)
	if err != nil {
		return c, fmt.Errorf("engine %s: %w", c.Name, err)
	}
	c.URL = u
	if c.MaxSessions < 0 {
		return c, fmt.Errorf("engine %s: max sessions %d: use 0 (no limit) or more", c.Name, c.MaxSessions)
	}
	if !validFieldValue(c.HostHeader) || strings.ContainsAny(c.HostHeader, " /") {
		return c, fmt.Errorf("engine %s: host header %q: use HOST or HOST:PORT", c.Name, c.HostHeader)
	}
	if c.Health, err = c.Health.normalize(); err != nil {
		return c, fmt.Errorf("engine %s: health probe: %w", c.Name, err)
	}
	if c.API, err = c.API.normalize(); err != nil {
		return c, fmt.Errorf("engine %s: engine API: %w", c.Name, err)
	}
	return c, nil
}

func (p Probe) normalize() (Probe, error) {
	if p.Kind == "" {
		p.Kind = ProbeHTTP
	}
	if p.Path == "" {
		p.Path = "/"
	}
	switch {
	case p.Kind != ProbeHTTP && p.Kind != ProbeTCP:
		return p, fmt.Errorf("kind %q: use %q or %q", p.Kind, ProbeHTTP, ProbeTCP)
	case !validTarget(p.Path):
		return p, fmt.Errorf("path %q: it must begin with '/' and hold printable ASCII without spaces", p.Path)
	case p.Status != 0 && (p.Status < 200 || p.Status > 599):
		return p, fmt.Errorf("status %d: use 200 to 599, or 0 for any below 500", p.Status)
	}
	return p, nil
}

func (a API) normalize() (API, error) {
	if a.Prefix == "" {
		a.Prefix = DefaultPrefix
	}
	if !validTarget(a.Prefix) || !strings.HasSuffix(a.Prefix, "/") || strings.ContainsAny(a.Prefix, "?#") {
		return a, fmt.Errorf("prefix %q: it must begin and end with '/'", a.Prefix)
	}
	return a, nil
}

// checkURL returns u with a port, or says what is wrong with it.
func checkURL(u *url.URL) (*url.URL, error) {
	port := ""
	switch u.Scheme {
	case "http":
		port = "80"
	case "https":
		port = "443"
	default:
		return nil, fmt.Errorf("URL scheme %q: use http or https", u.Scheme)
	}
	switch {
	case u.User != nil:
		return nil, errors.New("the URL must hold no user or password")
	case u.Opaque != "" || u.Hostname() == "":
		return nil, errors.New("the URL names no host")
	case u.Path != "" && u.Path != "/":
		return nil, fmt.Errorf("URL path %q: give host and port only; requests keep the path that users ask for", u.Path)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("the URL must hold no query or fragment")
	}
	if p := u.Port(); p != "" {
		if _, err := parsePort(p); err != nil {
			return nil, err
		}
		port = p
	}
	return &url.URL{Scheme: u.Scheme, Host: net.JoinHostPort(u.Hostname(), port)}, nil
}

// validTarget reports whether s can be written as a request target (RFC 9112 3.2.1).
func validTarget(s string) bool {
	if len(s) == 0 || len(s) > 2048 || s[0] != '/' {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '#' {
			return false
		}
	}
	return true
}

// validFieldValue reports whether s can be written as a field value (RFC 9110 5.5).
func validFieldValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

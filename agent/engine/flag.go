package engine

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/ushercluster/usher/agent/peer"
)

// builtinName is both the word for the built-in engine and its default name.
const builtinName = "builtin"

const maxFlag = 2048

// ParseFlag reads one engine from a command line or a settings file: "URL",
// "NAME=URL", "builtin" or "NAME=builtin". Without a name, an engine is named
// after its host and port: http://127.0.0.1:3838 is "127-0-0-1-3838".
func ParseFlag(s string) (Config, error) {
	if len(s) > maxFlag {
		return Config{}, fmt.Errorf("engine: the value is longer than %d characters", maxFlag)
	}
	name, rest, named := strings.Cut(s, "=")
	if !named || strings.Contains(name, "://") { // the '=' is part of the URL
		name, rest, named = "", s, false
	}
	if named && !peer.ValidName(name) {
		return Config{}, fmt.Errorf("engine %q: name %q: use 1 to 63 of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit", s, name)
	}
	if rest == builtinName {
		if !named {
			name = builtinName
		}
		return Config{Name: name, Builtin: true}, nil
	}
	u, err := parseURL(rest)
	if err != nil {
		return Config{}, fmt.Errorf("engine %q: %w", s, err)
	}
	if !named {
		name = defaultName(u)
	}
	return Config{Name: name, URL: u}, nil
}

func parseURL(s string) (*url.URL, error) {
	if s == "" {
		return nil, errors.New(`give a URL such as http://127.0.0.1:3838, or "builtin"`)
	}
	if !strings.Contains(s, "://") {
		return nil, fmt.Errorf(`it has no scheme: did you mean http://%s, or "builtin"?`, s)
	}
	u, err := url.Parse(s)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the URL is in our own message already
		}
		return nil, err
	}
	return checkURL(u)
}

func parsePort(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q: use 1 to 65535", s)
	}
	return int(n), nil
}

// defaultName makes a valid name of host and port. Two long hosts may share one;
// whoever collects engines refuses a name that is used twice.
func defaultName(u *url.URL) string {
	host := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r + ('a' - 'A')
		}
		return '-'
	}, u.Hostname())
	port := "-" + u.Port()
	host = strings.Trim(host[:min(len(host), 63-len(port))], "-")
	if host == "" { // [::] has no letter or digit
		host = "host"
	}
	return host + port
}

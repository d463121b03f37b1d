package config

import (
	"path/filepath"
	"strings"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// SocketName is the admin API's socket in its directory.
const SocketName = "usher.sock"

// Where a service of the system keeps its things on Unix.
const (
	SystemDataDir    = "/var/lib/usher"
	SystemRuntimeDir = "/run/usher"
)

// Facts is what the defaults depend on. All of it is passed in.
type Facts struct {
	Windows    bool
	Root       bool   // runs as the superuser of a Unix system
	UserDir    string // where this user's programs keep data, such as ~/.local/share
	Hostname   string
	StateDir   string // given by the service manager ($STATE_DIRECTORY), or ""
	RuntimeDir string // given by the service manager ($RUNTIME_DIRECTORY), or ""
}

// Defaults is the weakest layer. An empty api.socket stands for one in the data
// directory.
func Defaults(f Facts) Layer {
	texts := map[string]string{
		"node.name":                NodeName(f.Hostname),
		"cluster.bind":             ":" + DefaultClusterPort,
		"cluster.election_timeout": defaultElectionTimeout.String(),
		"door.listen":              ":" + DefaultDoorPort,
		"api.listen":               "127.0.0.1:" + DefaultAPIPort,
		"engine.health":            "/",
		"log.level":                "info",
		"log.format":               string(logs.JSON),
		"stop.timeout":             defaultStopTimeout.String(),
	}
	l := Layer{}
	for key, text := range texts {
		l[key] = Value{Texts: []string{text}}
	}
	l["engines"] = Value{Texts: []string{NoEngine}}
	l["data_dir"], l["api.socket"] = f.dataDir(), f.socket()
	return l
}

func (f Facts) dataDir() Value {
	switch {
	case f.StateDir != "":
		return Value{Texts: []string{f.StateDir}, Origin: "$STATE_DIRECTORY"}
	case f.Root && !f.Windows:
		return Value{Texts: []string{SystemDataDir}}
	case f.UserDir != "":
		return Value{Texts: []string{filepath.Join(f.UserDir, "usher")}}
	}
	return Value{}
}

func (f Facts) socket() Value {
	switch {
	case f.RuntimeDir != "":
		return Value{Texts: []string{filepath.Join(f.RuntimeDir, SocketName)}, Origin: "$RUNTIME_DIRECTORY"}
	case f.Root && !f.Windows:
		return Value{Texts: []string{filepath.Join(SystemRuntimeDir, SocketName)}}
	}
	return Value{}
}

// NodeName makes a valid node name of a machine's name: the first label, in lower
// case, anything odd replaced by '-'; "" when nothing is left.
func NodeName(host string) string {
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	name := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '-'
	}, host)
	name = strings.Trim(name[:min(len(name), 63)], "-")
	if !peer.ValidName(name) {
		return ""
	}
	return name
}

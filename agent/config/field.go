package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Field describes one thing that can be configured: the same table makes the
// flags, the variables, the keys of the file and the documentation.
type Field struct {
	Key    string // in the file: "cluster.bind"
	Flag   string // without dashes: "bind"
	Env    string // "USHER_BIND"
	Value  string // what a value is called in help: "HOST:PORT"
	Help   string // one line
	Many   bool   // takes several values; separated by commas in the environment
	Hidden bool   // left out of help, and of Print while it has its default

	at func(*Config) any // *string, *[]string, *time.Duration or *bool
}

// Switch reports whether a field is true or false: its flag needs no value.
func (f Field) Switch() bool {
	_, ok := f.at(new(Config)).(*bool)
	return ok
}

// Fields lists every field, in the order in which people read them.
func Fields() []Field {
	return slices.Concat(nodeFields(), clusterFields(), doorFields(), engineFields(), processFields())
}

func nodeFields() []Field {
	return []Field{
		{Key: "data_dir", Flag: "data-dir", Env: "USHER_DATA_DIR", Value: "DIR", Help: "directory for identity, log and caches",
			at: func(c *Config) any { return &c.DataDir }},
		{Key: "snapshot_dir", Flag: "snapshot-dir", Env: "USHER_SNAPSHOT_DIR", Value: "DIR", Help: "directory of the snapshots that the node saves by itself; by default snapshots in the data directory",
			at: func(c *Config) any { return &c.SnapshotDir }},
		{Key: "node.name", Flag: "name", Env: "USHER_NAME", Value: "NAME", Help: "this node's name; by default the machine's",
			at: func(c *Config) any { return &c.Node.Name }},
	}
}

func clusterFields() []Field {
	return []Field{
		{Key: "cluster.bind", Flag: "bind", Env: "USHER_BIND", Value: "HOST:PORT", Help: "where the cluster port listens",
			at: func(c *Config) any { return &c.Cluster.Bind }},
		{Key: "cluster.advertise", Flag: "advertise", Env: "USHER_ADVERTISE", Value: "ADDRESS", Help: "how other nodes reach the cluster port: an address, an interface's name or a network (10.0.0.0/8), with an optional :port; by default the machine's only address",
			at: func(c *Config) any { return &c.Cluster.Advertise }},
		{Key: "cluster.join", Flag: "join", Env: "USHER_JOIN", Value: "HOST[:PORT]", Help: "a member of the cluster to join; may be repeated", Many: true,
			at: func(c *Config) any { return &c.Cluster.Join }},
		{Key: "cluster.join_token_file", Flag: "join-token-file", Env: "USHER_JOIN_TOKEN_FILE", Value: "FILE", Help: "file that holds the join token, - for standard input; else USHER_JOIN_TOKEN",
			at: func(c *Config) any { return &c.Cluster.JoinTokenFile }},
		{Key: "cluster.election_timeout", Flag: "election-timeout", Env: "USHER_ELECTION_TIMEOUT", Value: "DURATION", Help: "silence after which a new leader is elected; the same on all nodes", Hidden: true,
			at: func(c *Config) any { return &c.Cluster.ElectionTimeout }},
	}
}

func doorFields() []Field {
	return []Field{
		{Key: "door.listen", Flag: "door", Env: "USHER_DOOR", Value: "HOST:PORT", Help: "where users arrive",
			at: func(c *Config) any { return &c.Door.Listen }},
		{Key: "door.public_name", Flag: "public-name", Env: "USHER_PUBLIC_NAME", Value: "NAME", Help: "the name by which users reach this door",
			at: func(c *Config) any { return &c.Door.PublicName }},
		{Key: "door.tls_cert", Flag: "door-cert", Env: "USHER_DOOR_CERT", Value: "FILE", Help: "certificate of the door (PEM, the chain behind the leaf): users are then served over TLS; may be repeated for further names", Many: true,
			at: func(c *Config) any { return &c.Door.TLSCerts }},
		{Key: "door.tls_key", Flag: "door-key", Env: "USHER_DOOR_KEY", Value: "FILE", Help: "its private key (PEM); repeated in the same order", Many: true,
			at: func(c *Config) any { return &c.Door.TLSKeys }},
		{Key: "door.redirect", Flag: "door-redirect", Env: "USHER_DOOR_REDIRECT", Value: "HOST:PORT", Help: "where users who come without TLS are sent to the door",
			at: func(c *Config) any { return &c.Door.Redirect }},
		{Key: "door.proxy_protocol", Flag: "door-proxy-protocol", Env: "USHER_DOOR_PROXY_PROTOCOL", Value: "true|false", Help: "users come through proxies in door.trusted_networks that send PROXY protocol headers (version 1 or 2), and in no other way",
			at: func(c *Config) any { return &c.Door.ProxyProtocol }},
		{Key: "api.listen", Flag: "api", Env: "USHER_API", Value: "HOST:PORT", Help: `where the admin API listens; "off" for the socket alone; beyond loopback it needs --api-cert and --api-key`,
			at: func(c *Config) any { return &c.API.Listen }},
		{Key: "api.socket", Flag: "socket", Env: "USHER_SOCKET", Value: "PATH", Help: `Unix socket of the admin API; "off" for none`,
			at: func(c *Config) any { return &c.API.Socket }},
		{Key: "api.tls_cert", Flag: "api-cert", Env: "USHER_API_CERT", Value: "FILE", Help: "certificate of the admin API (PEM)",
			at: func(c *Config) any { return &c.API.TLSCert }},
		{Key: "api.tls_key", Flag: "api-key", Env: "USHER_API_KEY", Value: "FILE", Help: "its private key (PEM)",
			at: func(c *Config) any { return &c.API.TLSKey }},
		{Key: "api.names", Flag: "api-name", Env: "USHER_API_NAME", Value: "NAME", Help: "a further host name under which the admin API may be asked; may be repeated", Many: true,
			at: func(c *Config) any { return &c.API.Names }},
	}
}

func engineFields() []Field {
	return []Field{
		{Key: "engines", Flag: "engine", Env: "USHER_ENGINE", Value: "[NAME=]URL", Help: `an application server to front: a URL, "builtin" for the demonstration engine, or "none"; may be repeated`, Many: true,
			at: func(c *Config) any { return &c.Engines }},
		{Key: "engine.health", Flag: "engine-health", Env: "USHER_ENGINE_HEALTH", Value: "PATH|tcp", Help: "path that engines are probed at, or tcp for the connection alone",
			at: func(c *Config) any { return &c.Engine.Health }},
		{Key: "engine.ca", Flag: "engine-ca", Env: "USHER_ENGINE_CA", Value: "FILE", Help: "authorities that sign the certificates of https engines (PEM), beside those that the machine trusts",
			at: func(c *Config) any { return &c.Engine.CA }},
		{Key: "engine.secret_file", Flag: "engine-secret-file", Env: "USHER_ENGINE_SECRET_FILE", Value: "FILE", Help: "file that holds the secret for the engines' load and reload calls",
			at: func(c *Config) any { return &c.Engine.SecretFile }},
		{Key: "engine.documents", Flag: "documents", Env: "USHER_DOCUMENTS", Value: "DIR", Help: "directory of the built-in engine's CSV files",
			at: func(c *Config) any { return &c.Engine.Documents }},
	}
}

func processFields() []Field {
	return []Field{
		{Key: "log.level", Flag: "log-level", Env: "USHER_LOG_LEVEL", Value: "LEVEL", Help: "debug, info, warn or error",
			at: func(c *Config) any { return &c.Log.Level }},
		{Key: "log.format", Flag: "log-format", Env: "USHER_LOG_FORMAT", Value: "FORMAT", Help: "json, or console for people",
			at: func(c *Config) any { return &c.Log.Format }},
		{Key: "stop.timeout", Flag: "stop-timeout", Env: "USHER_STOP_TIMEOUT", Value: "DURATION", Help: "how long requests may take to end when the agent stops",
			at: func(c *Config) any { return &c.Stop.Timeout }},
	}
}

// set types texts into the field.
func (f Field) set(c *Config, texts []string) error {
	switch p := f.at(c).(type) {
	case *[]string:
		*p = append([]string(nil), texts...) // nil when there are none
		return nil
	case *time.Duration:
		d, err := time.ParseDuration(last(texts))
		if err != nil {
			return fmt.Errorf("%q is no duration", last(texts))
		}
		*p = d
		return nil
	case *bool:
		switch text := last(texts); text {
		case "true", "false":
			*p = text == "true"
			return nil
		default:
			return fmt.Errorf("%q is neither true nor false", clip(text))
		}
	case *string:
		*p = last(texts)
		return nil
	}
	panic("config: field " + f.Key + " has an unknown type")
}

// texts is the inverse of set.
func (f Field) texts(c Config) []string {
	switch p := f.at(&c).(type) {
	case *[]string:
		return *p
	case *time.Duration:
		return []string{p.String()}
	case *bool:
		return []string{strconv.FormatBool(*p)}
	case *string:
		return []string{*p}
	}
	panic("config: field " + f.Key + " has an unknown type")
}

func last(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[len(s)-1]
}

// fieldAt finds a field by its key.
func fieldAt(key string) (Field, bool) {
	for _, f := range Fields() {
		if f.Key == key {
			return f, true
		}
	}
	return Field{}, false
}

// splitTexts reads a list from the environment.
func splitTexts(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

package main

import (
	"fmt"
	"slices"
	"strings"
)

// kind is how a work loads a proxy.
type kind string

const (
	requests    kind = "requests"    // one after the other over kept connections
	connections kind = "connections" // each over a connection of its own
	messages    kind = "messages"    // echoed over WebSockets
	idle        kind = "idle"        // WebSockets that say nothing
	http2       kind = "http2"       // requests, one after the other on each connection
)

// stage is which proxy a work meets. Works of one stage meet the same process, one after
// the other; those that measure memory meet a new one.
type stage struct {
	TLS    bool
	Agents int    // of usher
	Own    string // of whom it is, if not everybody's
}

// work is one measurement.
type work struct {
	name  string
	group string // by which it is asked for beside its name; "" is none
	kind  kind
	path  string
	body  int // bytes of the request's body
	size  int // bytes of the answer's body
	stage stage
	many  int  // connections, instead of those of the command line
	few   bool // of them have a request on its way
	usher bool // other proxies have nothing like it
}

const (
	kib = 1 << 10
	mib = 1 << 20

	messageBytes = 100 // of a WebSocket message
	linearGroup  = "linear"
	fewName      = "linear-64"
	manyName     = "linear-4000"
	quietName    = "linear-4000-quiet" // as many connections, as few at work
	getName      = "get-1k"
	forwardName  = "forwarded"
)

// works are in the order in which they are measured and shown.
var works = [...]work{
	{name: getName, kind: requests, path: "/bytes/1024", size: kib, stage: plain},
	{name: "get-64k", kind: requests, path: "/bytes/65536", size: 64 * kib, stage: plain},
	{name: "get-10m", kind: requests, path: "/bytes/10485760", size: 10 * mib, stage: plain},
	{name: "post-1k", kind: requests, path: "/bytes/2", body: kib, size: 2, stage: plain},
	{name: "post-1m", kind: requests, path: "/bytes/2", body: mib, size: 2, stage: plain},
	{name: "chunked", kind: requests, path: "/chunked/16384", size: 16 * kib, stage: plain},
	{name: "new-connection", kind: connections, path: "/bytes/1024", size: kib, stage: plain},
	{name: "websocket", kind: messages, path: "/echo", stage: plain},
	{name: "idle-websocket", kind: idle, path: "/echo", stage: stage{Agents: 1, Own: "memory"}},
	{name: "idle-websocket-tls", kind: idle, path: "/echo", stage: stage{TLS: true, Agents: 1, Own: "memory"}},
	{name: "tls-handshake", kind: connections, path: "/bytes/1024", size: kib, stage: secret},
	{name: "tls-keep-alive", kind: requests, path: "/bytes/1024", size: kib, stage: secret},
	{name: "http2", kind: http2, path: "/bytes/1024", size: kib, stage: secret},
	{name: fewName, group: linearGroup, kind: requests, path: "/bytes/1024", size: kib, many: 64, stage: linear},
	{name: manyName, group: linearGroup, kind: requests, path: "/bytes/1024", size: kib, many: 4000, stage: linear},
	{name: quietName, group: linearGroup, kind: requests, path: "/bytes/1024", size: kib, many: 4000, few: true, stage: linear},
	{name: forwardName, kind: requests, path: "/bytes/1024", size: kib, stage: stage{Agents: 2}, usher: true},
}

// Stages that several works share.
var (
	plain  = stage{Agents: 1}
	secret = stage{TLS: true, Agents: 1}
	linear = stage{Agents: 1, Own: "linear"}
)

// memory reports whether a work measures bytes instead of processor time.
func (w work) memory() bool { return w.kind == idle }

// chooseWorks are those with the names, in the usual order; all if there are none. What
// a goal compares a chosen one with is chosen, too.
func chooseWorks(names []string) ([]work, error) {
	if len(names) == 0 {
		return works[:], nil
	}
	for _, name := range names {
		if !slices.ContainsFunc(works[:], func(w work) bool { return w.name == name || w.group == name }) {
			return nil, fmt.Errorf("there is no work called %q\nnext: name some of %s", name, strings.Join(workNames(), ", "))
		}
	}
	var out []work
	for _, w := range works {
		if slices.Contains(names, w.name) || w.group != "" && slices.Contains(names, w.group) || w.name == getName && slices.Contains(names, forwardName) {
			out = append(out, w)
		}
	}
	return out, nil
}

func workNames() []string {
	var out []string
	for _, w := range works {
		if w.group == "" {
			out = append(out, w.name)
		}
	}
	return append(out, linearGroup)
}

// stagesOf groups works by the stage, in the order in which stages come first.
func stagesOf(all []work) [][]work {
	var out [][]work
	at := map[stage]int{}
	for _, w := range all {
		i, ok := at[w.stage]
		if !ok {
			i = len(out)
			at[w.stage] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], w)
	}
	return out
}

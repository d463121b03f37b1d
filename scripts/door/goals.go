package main

import (
	"fmt"

	"github.com/ushercluster/usher/scripts/bench"
)

// goal is how much usher may cost for a work, as a part of what the other costs.
type goal struct {
	work  string
	peer  string // that does the same work; "" compares usher with itself
	of    string // usher's work that is compared with, if peer is ""
	limit float64
	then  float64 // what comes after it; 0: nothing
}

// wanted are the goals.
var wanted = [...]goal{
	{work: getName, peer: haproxyName, limit: 1, then: 0.8},
	{work: getName, peer: nginxName, limit: 0.95},
	{work: getName, peer: caddyName, limit: 1. / 6},
	{work: "get-64k", peer: haproxyName, limit: 0.65},
	{work: "get-64k", peer: nginxName, limit: 0.85},
	{work: "get-64k", peer: caddyName, limit: 1. / 4},
	{work: "get-10m", peer: haproxyName, limit: 0.75},
	{work: "get-10m", peer: nginxName, limit: 0.6},
	{work: "get-10m", peer: caddyName, limit: 0.55},
	{work: "websocket", peer: haproxyName, limit: 1, then: 0.8},
	{work: "websocket", peer: nginxName, limit: 0.9},
	{work: "websocket", peer: caddyName, limit: 0.75},
	{work: "idle-websocket", peer: haproxyName, limit: 0.3},
	{work: "idle-websocket", peer: nginxName, limit: 0.07},
	{work: "idle-websocket", peer: caddyName, limit: 1. / 50},
	{work: "idle-websocket-tls", peer: haproxyName, limit: 1.5},
	{work: "idle-websocket-tls", peer: nginxName, limit: 0.7},
	{work: "idle-websocket-tls", peer: caddyName, limit: 1. / 4},
	{work: "new-connection", peer: haproxyName, limit: 1.2},
	{work: "new-connection", peer: nginxName, limit: 1},
	{work: "new-connection", peer: caddyName, limit: 0.4},
	{work: "tls-handshake", peer: haproxyName, limit: 0.8},
	{work: "tls-handshake", peer: nginxName, limit: 0.95},
	{work: "tls-handshake", peer: caddyName, limit: 0.8},
	{work: "tls-keep-alive", peer: haproxyName, limit: 0.9},
	{work: "tls-keep-alive", peer: nginxName, limit: 0.95},
	{work: "tls-keep-alive", peer: caddyName, limit: 0.2},
	{work: "http2", peer: haproxyName, limit: 3.6, then: 2},
	{work: "http2", peer: nginxName, limit: 2.4},
	{work: "http2", peer: caddyName, limit: 0.3},
	{work: forwardName, of: getName, limit: 2.2},
	{work: manyName, of: fewName, limit: 1.2},
}

// judged are the goals of the works that were chosen, with what was measured.
func (r *results) judged() []bench.Goal {
	var out []bench.Goal
	for _, g := range wanted {
		if r.chosen(g.work) {
			out = append(out, r.judge(g))
		}
	}
	return out
}

func (r *results) judge(g goal) bench.Goal {
	peer, of := g.peer, g.work
	if peer == "" {
		peer, of = usherName, g.of
	}
	out := bench.Goal{Name: g.work + " against " + peer, Limit: g.limit, Unit: " x"}
	if g.peer == "" {
		out.Name = g.work + " against " + g.of
	}
	if g.then > 0 {
		out.Note = fmt.Sprintf("then %.2f", g.then)
	}
	ours, theirs := r.median(usherName, g.work), r.median(peer, of)
	switch {
	case len(r.of(usherName, g.work)) == 0:
		out.Skipped = usherName + " was not measured"
	case len(r.of(peer, of)) == 0:
		out.Skipped = peer + " was not measured"
	default:
		out.Value = ours / theirs
	}
	return out
}

package main

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// options are the command line.
type options struct {
	usher       string            // binary
	tree        string            // from what it was made
	programs    map[string]string // binaries of other proxies by program; "" is absent
	libraries   string            // directory of shared libraries that they need beside the system's
	peers       []peer
	works       []work
	rounds      int
	time        time.Duration
	warmUp      time.Duration
	connections int
	sockets     int
	output      bench.Output
}

// usageError is a command line that says nothing that can be done.
type usageError struct{ error }

func parse(args []string) (options, error) {
	o := options{programs: map[string]string{}, output: bench.Output{Name: "door"}}
	var chosen, against string
	programs := map[string]*string{}
	flags := flag.NewFlagSet("door", flag.ContinueOnError)
	flags.StringVar(&o.usher, "binary", "", "the usher binary to measure")
	flags.StringVar(&o.tree, "tree", "of unknown origin", "what the binary was made from, for the output")
	for _, program := range []string{haproxyName, nginxName, caddyName} {
		programs[program] = flags.String(program, "", "the "+program+" binary to measure beside it; none: skipped")
	}
	flags.StringVar(&o.libraries, "libraries", "", "directory of shared libraries that other proxies need")
	flags.StringVar(&against, "peers", "usher,haproxy,nginx,caddy", "the proxies, by name; NAME-default is one that is not tuned")
	flags.StringVar(&chosen, "work", "", "what is measured, by name; all if there is none")
	flags.IntVar(&o.rounds, "rounds", 5, "how often everything is measured")
	flags.DurationVar(&o.time, "time", 3*time.Second, "how long each measurement takes")
	flags.DurationVar(&o.warmUp, "warm-up", time.Second, "what comes before it and does not count")
	flags.IntVar(&o.connections, "connections", 64, "connections, and WebSocket messages on their way")
	flags.IntVar(&o.sockets, "sockets", 2000, "WebSockets that exchange messages; four times as many are idle ones")
	flags.BoolVar(&o.output.Markdown, "markdown", false, "print Markdown")
	flags.StringVar(&o.output.Into, "into", "", "put it as Markdown into this page too")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, usageError{err}
	}
	for program, file := range programs {
		o.programs[program] = *file
	}
	if o.usher == "" || o.rounds < 1 || o.time < 100*time.Millisecond || o.warmUp < 0 || o.connections < 1 || o.sockets < o.connections || flags.NArg() > 0 {
		return o, usageError{errors.New("give --binary FILE, --time of at least 100ms, --rounds and --connections of at least 1, and no fewer --sockets than connections")}
	}
	var err error
	if o.works, err = chooseWorks(words(chosen)); err != nil {
		return o, usageError{err}
	}
	if o.peers, err = choosePeers(words(against)); err != nil {
		return o, usageError{err}
	}
	return o, nil
}

// words are the parts between commas.
func words(list string) []string {
	var out []string
	for word := range strings.SplitSeq(list, ",") {
		if word = strings.TrimSpace(word); word != "" {
			out = append(out, word)
		}
	}
	return out
}

// Names of the proxies; the last three are those of the programs, too.
const (
	usherName   = "usher"
	haproxyName = "haproxy"
	nginxName   = "nginx"
	caddyName   = "caddy"
)

// peer is a proxy under test.
type peer struct {
	name    string
	program string
	file    string // its configuration, below peers
	tuned   bool
	cookie  string // that users send beside those that they were given
}

// peers are those that can be measured. nginx's open source has no sessions of its own:
// it hashes a cookie, which somebody else has to set.
var peers = [...]peer{
	{name: usherName, program: usherName},
	{name: haproxyName, program: haproxyName, file: "haproxy.cfg", tuned: true},
	{name: nginxName, program: nginxName, file: "nginx.conf", tuned: true, cookie: "srv=c0ffee"},
	{name: caddyName, program: caddyName, file: "Caddyfile", tuned: true},
	{name: "haproxy-default", program: haproxyName, file: "haproxy.cfg"},
	{name: "nginx-default", program: nginxName, file: "nginx.conf", cookie: "srv=c0ffee"},
	{name: "caddy-default", program: caddyName, file: "Caddyfile"},
}

func choosePeers(names []string) ([]peer, error) {
	var out []peer
	for _, name := range names {
		i := slices.IndexFunc(peers[:], func(p peer) bool { return p.name == name })
		if i < 0 || slices.ContainsFunc(out, func(p peer) bool { return p.name == name }) {
			return nil, fmt.Errorf("there is no proxy called %q, or it is named twice\nnext: name some of usher, haproxy, nginx, caddy, haproxy-default, nginx-default, caddy-default", name)
		}
		out = append(out, peers[i])
	}
	if len(out) == 0 {
		return nil, errors.New("no proxy is named")
	}
	return out, nil
}

// inTurn is the order of the proxies in a round: reversed every time.
func inTurn(all []peer, round int) []peer {
	order := slices.Clone(all)
	if round%2 == 1 {
		slices.Reverse(order)
	}
	return order
}

// Package clustertest runs whole clusters in one test: agents as they are built for
// production, on a network in memory, with real files below the test's directory,
// inside a bubble of testing/synctest. A minute of cluster life takes about a
// second, with production timeouts.
//
//	synctest.Test(t, func(t *testing.T) {
//	    c := clustertest.New(t, 3)
//	    c.Node(1).Crash()
//	    c.WaitCentral()
//	    ...
//	})
//
// Scheduling inside a bubble is not deterministic, so tests assert invariants, and
// New's clean-up asserts the general ones: every node stops without an error, and
// nodes that stand at the same revision have the same state.
package clustertest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/engine/builtin"
	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport/memnet"
)

// Cluster is a running cluster. It is used from the test's goroutine.
type Cluster struct {
	T     *testing.T
	Net   *memnet.Net
	User  *memnet.Host // where browsers and operators sit
	Token string       // of the first administrator
	// Recovery opens snapshots.
	Recovery identity.RecoveryKey

	nodes   []*Node
	join    string
	log     zerolog.Logger
	prepare []func(*Node)
}

// Node is one machine.
type Node struct {
	c      *Cluster
	Name   string
	Host   *memnet.Host
	Config config.Config
	Agent  *agent.Agent                        // nil while it is down
	Delay  func(document string) time.Duration // slows reloads; set it before Start
	Log    io.Writer                           // gets the agent's lines, at the level of the settings; nil: nobody does
	cancel context.CancelFunc
	done   chan error
}

// New makes a cluster of n nodes and waits until every one is ready and the voters
// are what the policy wants. Clean-up stops them and checks the invariants. It must
// be called inside a bubble. Every machine is handed to the prepare functions before
// its agent starts for the first time.
func New(t *testing.T, n int, prepare ...func(*Node)) *Cluster {
	t.Helper()
	c := &Cluster{T: t, Net: memnet.New(), log: zerolog.Nop(), prepare: prepare}
	if os.Getenv("USHER_TEST_LOG") != "" {
		c.log = zerolog.New(zerolog.NewTestWriter(t)).With().Timestamp().Logger()
	}
	c.User = c.Net.Host("user", "10.9.9.9")
	t.Cleanup(c.close)
	c.init(c.Add())
	for len(c.nodes) < n {
		c.JoinNode(c.Add())
	}
	c.WaitVoters(min(n-(n+1)%2*btoi(n > 2), 5))
	return c
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Add makes a machine with an engine and documents, outside of the cluster.
func (c *Cluster) Add() *Node {
	c.T.Helper()
	i := len(c.nodes) + 1
	ip := fmt.Sprintf("10.0.0.%d", i)
	dir := filepath.Join(c.T.TempDir(), "data")
	docs := filepath.Join(dir, "..", "documents")
	if err := builtin.WriteDemoDocuments(docs, 1); err != nil {
		c.T.Fatal(err)
	}
	n := &Node{c: c, Name: fmt.Sprintf("n%d", i), Host: c.Net.Host(fmt.Sprintf("n%d", i), ip)}
	n.Config = config.Config{
		DataDir: dir,
		Node:    config.Node{Name: n.Name},
		Cluster: config.Cluster{Bind: ip + ":14747", ElectionTimeout: 500 * time.Millisecond},
		Door:    config.Door{Listen: ip + ":8080"},
		API:     config.API{Socket: "/run/usher/usher.sock"},
		Engines: []string{"builtin"},
		Engine:  config.Engine{Documents: docs},
		Stop:    config.Stop{Timeout: 5 * time.Second},
	}
	c.nodes = append(c.nodes, n)
	for _, prepare := range c.prepare {
		prepare(n)
	}
	return n
}

func (c *Cluster) init(n *Node) {
	c.T.Helper()
	res, err := agent.Init(c.T.Context(), n.Config, "test", time.Now)
	if err != nil {
		c.T.Fatal(err)
	}
	c.Token, c.join = res.AdminToken, res.JoinToken
	if c.Recovery, err = identity.ParseRecoveryKey(res.RecoveryKey); err != nil {
		c.T.Fatal(err)
	}
	n.Start()
	n.WaitReady()
}

// JoinNode lets a machine in by the first join token and starts it.
func (c *Cluster) JoinNode(n *Node) {
	c.T.Helper()
	n.Config.Cluster.Join = []string{c.nodes[0].Host.IP() + ":14747"}
	if _, err := agent.Join(c.T.Context(), n.Config, agent.JoinOptions{Token: c.join, Network: n.Host}); err != nil {
		c.T.Fatal(err)
	}
	n.Start()
	n.WaitReady()
}

// Node is the i-th machine, from 1.
func (c *Cluster) Node(i int) *Node { return c.nodes[i-1] }

// Up are the machines whose agents run.
func (c *Cluster) Up() []*Node {
	var out []*Node
	for _, n := range c.nodes {
		if n.Agent != nil {
			out = append(out, n)
		}
	}
	return out
}

// Start starts the agent.
func (n *Node) Start() {
	n.c.T.Helper()
	log, level := n.logger()
	a, err := agent.New(n.Config, agent.Options{
		Network: n.Host, Log: log.With().Str(logs.NodeName, n.Name).Logger(), Level: level, Version: "test",
		Machine: func() agent.Machine {
			return agent.Machine{CPUPermille: 100, MemFreeBytes: 8 << 30, MemTotalBytes: 16 << 30}
		},
		SocketUser:  func(net.Conn) (string, error) { return "root", nil },
		ReloadDelay: n.Delay,
	})
	if err != nil {
		n.c.T.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.Agent, n.cancel, n.done = a, cancel, make(chan error, 1)
	go func() { n.done <- a.Run(ctx) }()
}

// logger is what the agent logs to. Lines for the test follow the settings.
func (n *Node) logger() (zerolog.Logger, *logs.Level) {
	n.c.T.Helper()
	if n.Log == nil {
		return n.c.log, nil
	}
	level := logs.NewLevel(zerolog.InfoLevel)
	log, err := logs.New(n.Log, logs.JSON, level, time.Now)
	if err != nil {
		n.c.T.Fatal(err)
	}
	return log, level
}

// WaitReady waits until the agent has live state and has reported itself.
func (n *Node) WaitReady() {
	n.c.T.Helper()
	select {
	case <-n.Agent.Ready():
	case err := <-n.done:
		n.c.T.Fatalf("%s ended: %v", n.Name, err)
	case <-time.After(time.Minute):
		n.c.T.Fatalf("%s is not ready after a minute", n.Name)
	}
}

// Stop stops the agent in order.
func (n *Node) Stop() {
	n.c.T.Helper()
	if err := n.end(); err != nil {
		n.c.T.Errorf("%s stopped with an error: %v", n.Name, err)
	}
}

func (n *Node) end() error {
	n.cancel()
	err := <-n.done
	n.Agent = nil
	return err
}

// Crash ends the agent as kill -9 does: its connections break at once, nothing
// that it says any more is heard.
func (n *Node) Crash() {
	n.c.T.Helper()
	n.c.Net.Reset(n.Host)
	n.c.Net.Isolate(n.Host)
	_ = n.end() // its listeners were torn from it, so errors are to be expected
	n.c.Net.HealHost(n.Host)
}

// Ended waits for an agent that ends by itself and returns why.
func (n *Node) Ended() error {
	n.c.T.Helper()
	select {
	case err := <-n.done:
		n.Agent = nil
		return err
	case <-time.After(time.Minute):
		n.c.T.Fatalf("%s has not ended by itself", n.Name)
		return nil
	}
}

// API is a client of the node's socket.
func (n *Node) API() *admin.Client {
	n.c.T.Helper()
	client, err := admin.NewClient(admin.ClientConfig{Address: "unix:" + n.Config.API.Socket, Dial: n.Host.DialContext})
	if err != nil {
		n.c.T.Fatal(err)
	}
	n.c.T.Cleanup(client.Close)
	return client
}

// Browser is a browser without cookies; give it a jar to keep its session.
func (c *Cluster) Browser() *http.Client {
	tr := &http.Transport{DialContext: c.User.DialContext, DisableKeepAlives: true}
	return &http.Client{Transport: tr, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// Door is the URL of the node's door.
func (n *Node) Door() string { return "http://" + n.Config.Door.Listen }

// Central is the node that leads now, or nil.
func (c *Cluster) Central() *Node {
	for _, n := range c.Up() {
		if st := n.Agent.Status(); st.IsLeader {
			return n
		}
	}
	return nil
}

// WaitCentral waits until a node other than those given leads.
func (c *Cluster) WaitCentral(not ...*Node) *Node {
	c.T.Helper()
	var found *Node
	c.Eventually(15*time.Second, "a central node", func() bool {
		found = c.Central()
		for _, n := range not {
			if found == n {
				return false
			}
		}
		return found != nil
	})
	return found
}

// WaitVoters waits until Raft has that many voters.
func (c *Cluster) WaitVoters(n int) {
	c.T.Helper()
	c.Eventually(time.Minute, fmt.Sprintf("%d voters", n), func() bool {
		l := c.Central()
		return l != nil && len(l.Agent.Status().Voters) == n
	})
}

// WaitSame waits until all running nodes have the same state.
func (c *Cluster) WaitSame() {
	c.T.Helper()
	c.Eventually(30*time.Second, "equal states", func() bool {
		hashes := map[string]bool{}
		for _, n := range c.Up() {
			hashes[n.Agent.View().Hash()] = true
		}
		return len(hashes) == 1
	})
}

// Eventually waits, in the bubble's time, until cond holds.
func (c *Cluster) Eventually(limit time.Duration, what string, cond func() bool) {
	c.T.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		if cond() {
			return
		}
		if time.Now().After(end) {
			c.T.Fatalf("no %s within %v", what, limit)
		}
	}
}

// ID is the node's ID, also while it is down.
func (n *Node) ID() peer.ID { return n.Agent.ID() }

func (c *Cluster) close() {
	c.Net.HealAll()
	for _, n := range c.Up() {
		n.Stop()
	}
	if left := c.Net.Conns(); left != 0 {
		c.T.Errorf("%d connections are left open", left)
	}
}

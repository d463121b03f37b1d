package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/peer"
)

// The demonstration runs this test binary as its agents: see TestMain.
const stubEnv = "STUB_OF_THE_AGENT"

func TestMain(m *testing.M) {
	switch os.Getenv(stubEnv) {
	case "":
		os.Exit(m.Run())
	case "real": // the whole program
		main()
	case "broken":
		if len(os.Args) > 1 && os.Args[1] == "agent" {
			fmt.Fprintln(os.Stderr, "the stub is broken on purpose")
			os.Exit(3)
		}
	}
	os.Exit(stubProgram().run(os.Args[1:]))
}

// stubProgram is the real program around an agent that only answers the admin API.
func stubProgram() *program {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, stopSignals()...)
	p := systemProgram(signals)
	p.machine = stubMachine{}
	return p
}

type stubMachine struct{ systemMachine }

func (stubMachine) HasIdentity(string) (bool, error) { return true, nil }

func (stubMachine) Init(context.Context, config.Config, string, func() time.Time) (agent.InitResult, error) {
	return agent.InitResult{ClusterName: "demo", AdminToken: "usht_stub", JoinToken: "ushj_stub"}, nil
}

func (stubMachine) Open(cfg config.Config, _ agent.Options) (running, error) {
	ln, err := net.Listen("tcp", cfg.API.Listen)
	if err != nil {
		return nil, err
	}
	return &stubAgent{cfg: cfg, ln: ln, fakeRun: newFakeRun()}, nil
}

// stubAgent answers what the demonstration asks, until the process ends.
type stubAgent struct {
	*fakeRun
	cfg config.Config
	ln  net.Listener
}

func (a *stubAgent) Run(ctx context.Context) error {
	go func() { _ = http.Serve(a.ln, http.HandlerFunc(a.answer)) }()
	fmt.Fprintln(os.Stderr, "the stub runs")
	<-ctx.Done()
	return nil
}

func (a *stubAgent) answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	var v any = struct{}{}
	switch path := r.URL.Path; {
	case path == "/v1/health":
		v = admin.Health{Status: "ok"}
	case path == "/v1/status":
		var s admin.Status
		_, _ = fmt.Sscan(os.Getenv("STUB_NODES"), &s.Counts.NodesAlive)
		s.Counts.EnginesHealthy, s.Servers.Voters = s.Counts.NodesAlive, s.Counts.NodesAlive
		v = s
	case path == "/v1/nodes":
		l := admin.List[admin.Node]{}
		for i := range 9 {
			l.Items = append(l.Items, admin.Node{ID: stubID(i), Name: fmt.Sprintf("node-%d", i+1)})
		}
		v = l
	case strings.HasPrefix(path, "/v1/engines/"):
		v = admin.Engine{URL: "http://127.0.0.1:1"}
	case path == "/hang":
		<-r.Context().Done() // until the process ends
		return
	}
	_ = json.NewEncoder(w).Encode(v)
}

func stubID(i int) peer.ID { return peer.ID(strings.Repeat(string(rune('a'+i)), 16)) }

//go:build unix

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/ushercluster/usher/agent/admin"
)

// startWithin bounds the start of a cluster or of a node.
const startWithin = 40 * time.Second

// Agent is one node of Usher.
type Agent struct {
	*Process
	API    string // host:port, or the path of the socket
	Door   string // host:port where users arrive
	Client *admin.Client
}

// Usher is a cluster of agents on loopback, made as an operator makes one: init,
// then join with the token that init printed.
type Usher struct {
	Token  string
	Agents []*Agent
}

// UsherConfig says what cluster is made.
type UsherConfig struct {
	Binary string
	Dir    string // below which everything lies
	Nodes  int
	// Engines are the URLs of each agent's engine; agents beyond them have none.
	Engines []string
	// Flags of all agents beside those that every cluster needs.
	Flags []string
	// Net gives each agent a network of its own; its API is then the local socket
	// alone. Nil: loopback, and the API on TCP.
	Net *Namespaces
}

// OpenUsher makes a cluster and returns when all its servers vote.
func OpenUsher(ctx context.Context, cfg UsherConfig) (*Usher, error) {
	u := &Usher{}
	if err := u.open(ctx, cfg); err != nil {
		return nil, errors.Join(err, u.Close())
	}
	return u, nil
}

// seat is where one agent listens, and how it is called.
type seat struct {
	name, dir               string
	cluster, door, api, ask string // ask: for admin.ClientConfig
	socket                  string
	prefix                  []string // of the command
}

func (s seat) own() []string {
	return []string{"--data-dir", filepath.Join(s.dir, s.name), "--name", s.name, "--bind", s.cluster, "--advertise", s.cluster}
}

func (cfg UsherConfig) seats(ctx context.Context) ([]seat, error) {
	ports, err := FreePorts(ctx, 3*cfg.Nodes)
	if err != nil {
		return nil, err
	}
	var out []seat
	for i := range cfg.Nodes {
		s := seat{name: fmt.Sprintf("n%d", i+1), dir: cfg.Dir, cluster: ports[3*i], api: ports[3*i+1], door: ports[3*i+2]}
		s.socket, s.ask = filepath.Join(cfg.Dir, s.name+".sock"), "http://"+s.api
		if cfg.Net != nil {
			s.cluster, s.api, s.ask, s.prefix = cfg.Net.Address(i), "off", "unix:"+s.socket, cfg.Net.Enter(i)
		}
		out = append(out, s)
	}
	return out, nil
}

func (cfg UsherConfig) engine(i int) string {
	if i < len(cfg.Engines) {
		return cfg.Engines[i]
	}
	return "none"
}

func (u *Usher) open(ctx context.Context, cfg UsherConfig) error {
	seats, err := cfg.seats(ctx)
	if err != nil {
		return err
	}
	first := append(append(seats[0].prefix[:len(seats[0].prefix):len(seats[0].prefix)], cfg.Binary, "init", "--output", "json"), seats[0].own()...)
	init := exec.CommandContext(ctx, first[0], first[1:]...)
	init.Env, init.Stderr = plainEnv(), os.Stderr
	out, err := init.Output()
	if err != nil {
		return fmt.Errorf("usher init: %w", err)
	}
	var made struct {
		AdminToken string `json:"admin_token"`
		JoinToken  string `json:"join_token"`
	}
	if err := json.Unmarshal(out, &made); err != nil {
		return fmt.Errorf("read what usher init printed: %w", err)
	}
	u.Token = made.AdminToken
	for i, s := range seats {
		args := append(append(s.prefix[:len(s.prefix):len(s.prefix)], cfg.Binary, "agent"), s.own()...)
		args = append(args, "--api", s.api, "--door", s.door, "--engine", cfg.engine(i), "--socket", s.socket, "--log-level", "warn")
		args = append(args, cfg.Flags...)
		var env []string
		if i > 0 {
			args, env = append(args, "--join", seats[0].cluster), []string{"USHER_JOIN_TOKEN=" + made.JoinToken}
		}
		a := &Agent{API: s.api, Door: s.door, Process: &Process{Name: s.name, args: args, env: env, log: filepath.Join(s.dir, s.name+".log")}}
		ask := admin.ClientConfig{Address: s.ask, Token: u.Token}
		if cfg.Net != nil {
			a.API, ask.Token = s.socket, ""
		}
		if a.Client, err = admin.NewClient(ask); err != nil {
			return fmt.Errorf("make client of %s: %w", a.Name, err)
		}
		u.Agents = append(u.Agents, a)
	}
	return u.gather(ctx)
}

// gather starts the agents, the first one alone, and waits until all vote.
func (u *Usher) gather(ctx context.Context) error {
	for i, a := range u.Agents {
		if err := a.Start(); err != nil {
			return err
		}
		if i > 0 {
			continue
		}
		if err := Until(ctx, startWithin, "the first agent has a quorum", func(ctx context.Context) bool {
			h, err := a.Client.Health(ctx)
			return err == nil && h.Status == admin.HealthOK
		}); err != nil {
			return fmt.Errorf("%w; its last words:\n%s", err, a.Words())
		}
	}
	var ended error
	err := Until(ctx, startWithin, "all servers vote", func(ctx context.Context) bool {
		for _, a := range u.Agents {
			if !a.Running() {
				ended = fmt.Errorf("%s ended while it started; its last words:\n%s", a.Name, a.Words())
				return true
			}
			s, err := a.Client.Status(ctx, admin.Stale())
			if err != nil || !s.Quorum || s.Servers.Voters != len(u.Agents) || s.Servers.Reachable != len(u.Agents) {
				return false
			}
		}
		return true
	})
	return errors.Join(err, ended)
}

// Close ends all agents. Their directories stay.
func (u *Usher) Close() error {
	for _, a := range u.Agents {
		if a.Client != nil {
			a.Client.Close()
		}
	}
	return stopAll(u.processes())
}

// PIDs of the agents that run.
func (u *Usher) PIDs() []int { return pids(u.processes()) }

func (u *Usher) processes() []*Process {
	var out []*Process
	for _, a := range u.Agents {
		out = append(out, a.Process)
	}
	return out
}

// Leader is the position of the central node, which all agents that run and are not
// in except must agree on.
func (u *Usher) Leader(ctx context.Context, except ...int) (int, error) {
	found := -1
	err := Until(ctx, startWithin, "the agents agree on a central node", func(ctx context.Context) bool {
		found = -1
		for i, a := range u.Agents {
			if !a.Running() || contains(except, i) {
				continue
			}
			c, err := a.Client.Central(ctx, admin.Stale())
			if err != nil || c.Node == nil || !c.Quorum {
				return false
			}
			at := u.find(c.Node.Name)
			if at < 0 || found >= 0 && at != found {
				return false
			}
			found = at
		}
		return found >= 0 && u.Agents[found].Running() && !contains(except, found)
	})
	return found, err
}

func (u *Usher) find(name string) int {
	for i, a := range u.Agents {
		if a.Name == name {
			return i
		}
	}
	return -1
}

func contains(all []int, i int) bool {
	for _, x := range all {
		if x == i {
			return true
		}
	}
	return false
}

// CaughtUp waits until agent i has what the leader has now; it must not lead itself.
func (u *Usher) CaughtUp(ctx context.Context, i int) error {
	leader, err := u.Leader(ctx, i)
	if err != nil {
		return err
	}
	var want uint64
	return Until(ctx, startWithin, u.Agents[i].Name+" has caught up", func(ctx context.Context) bool {
		if want == 0 {
			s, err := u.Agents[leader].Client.Status(ctx, admin.Stale())
			if err != nil {
				return false
			}
			want = s.Index
		}
		s, err := u.Agents[i].Client.Status(ctx, admin.Stale())
		return err == nil && s.Quorum && s.Index >= want && s.Servers.Reachable == len(u.Agents)
	})
}

// Same waits until all agents have the same revision, and reports what differs in
// their settings as an error. Nobody may write meanwhile.
func (u *Usher) Same(ctx context.Context) (map[string]string, error) {
	first := u.Agents[0]
	want, err := first.Client.ExportSettings(ctx, true) // linearizable
	if err != nil {
		return nil, fmt.Errorf("read the settings: %w", err)
	}
	for _, a := range u.Agents[1:] {
		var got admin.Settings
		if err := Until(ctx, startWithin, a.Name+" has the revision of "+first.Name, func(ctx context.Context) bool {
			got, err = a.Client.ExportSettings(ctx, true, admin.Stale())
			return err == nil && got.Revision >= want.Revision
		}); err != nil {
			return nil, err
		}
		for key, value := range want.Settings {
			if got.Settings[key] != value {
				return nil, fmt.Errorf("%s differs: %s says %q, %s says %q", key, first.Name, value, a.Name, got.Settings[key])
			}
		}
	}
	return want.Settings, nil
}

// Final is what the written keys hold on all agents alike, and the state's revision.
// Nobody may write meanwhile.
func (u *Usher) Final(ctx context.Context) ([]Final, uint64, error) {
	held, err := u.Same(ctx)
	if err != nil {
		return nil, 0, err
	}
	var revision uint64
	final := make([]Final, Keys)
	for k := range final {
		row, err := u.Agents[0].Client.Setting(ctx, Setting(k))
		if err != nil {
			return nil, 0, fmt.Errorf("read %s: %w", Setting(k), err)
		}
		if row.Value != held[Setting(k)] {
			return nil, 0, fmt.Errorf("%s changed while nobody wrote", Setting(k))
		}
		if final[k].Seq, err = SeqOf(k, row.Value); err != nil {
			return nil, 0, err
		}
		final[k].Version, revision = row.Modified, row.Revision
	}
	return final, revision, nil
}

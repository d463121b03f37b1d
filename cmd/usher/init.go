package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/config"
)

func (p *program) initCommand() *cli.Command {
	flags := append([]cli.Flag{withDefault(text("cluster-name", "NAME", "what the cluster is called"), "usher")},
		configFlags("data-dir", "name", "bind", "advertise")...)
	return &cli.Command{
		Name: "init", Usage: "make a cluster with this machine as its first node",
		Description: "Writes the node's identity and the cluster's first state into the data directory, and prints what exists nowhere else: the admin token, the join token and the recovery key. Run it once per cluster; the other machines join.",
		Flags:       flags,
		Action:      p.initRun,
	}
}

// initAnswer is what init prints as JSON.
type initAnswer struct {
	ClusterID      string    `json:"cluster_id"`
	ClusterName    string    `json:"cluster_name"`
	NodeID         string    `json:"node_id"`
	NodeName       string    `json:"node_name"`
	ClusterAddr    string    `json:"cluster_addr"`
	DataDir        string    `json:"data_dir"`
	AdminToken     string    `json:"admin_token"`
	AdminTokenFile string    `json:"admin_token_file"`
	JoinToken      string    `json:"join_token"`
	JoinUses       int       `json:"join_uses"`
	JoinExpires    time.Time `json:"join_expires"`
	RecoveryKey    string    `json:"recovery_key,omitempty"` // absent after a restore: it stays
	JoinCommand    string    `json:"join_command"`
}

func (p *program) initRun(c *cli.Context) error {
	if err := exactly(0).check(c); err != nil {
		return err
	}
	cfg, _, err := p.configure(c)
	if err != nil {
		return err
	}
	ctx, cancel := p.untilSignal(c.Context)
	defer cancel()
	r, err := p.machine.Init(ctx, cfg, c.String("cluster-name"), p.now)
	if err != nil {
		return initFailure(cfg, err)
	}
	return p.founded(c, cfg, r)
}

// founded prints what the founder of a cluster must know.
func (p *program) founded(c *cli.Context, cfg config.Config, r agent.InitResult) error {
	file, err := saveAdminToken(cfg.DataDir, r.AdminToken)
	if err != nil {
		fmt.Fprintf(p.stderr, "usher: the admin token is not saved, keep it now: %v\n", err)
	}
	answer := initAnswer{
		ClusterID: r.ClusterID, ClusterName: r.ClusterName, NodeID: string(r.NodeID), NodeName: r.NodeName, ClusterAddr: r.Advertise,
		DataDir: r.DataDir, AdminToken: r.AdminToken, AdminTokenFile: file, JoinToken: r.JoinToken, JoinUses: r.JoinUses,
		JoinExpires: r.JoinExpires, RecoveryKey: r.RecoveryKey,
		JoinCommand: "USHER_JOIN_TOKEN=" + r.JoinToken + " usher agent --join " + r.Advertise,
	}
	return p.emit(c, answer, func(o *printer) { o.initAnswer(p, c, answer) })
}

func (o *printer) initAnswer(p *program, c *cli.Context, a initAnswer) {
	o.facts(
		"cluster", a.ClusterName+" ("+a.ClusterID+")",
		"node", a.NodeName+" ("+a.NodeID+")",
		"cluster port", a.ClusterAddr,
		"data", a.DataDir,
		"admin token", a.AdminToken,
		"saved in", a.AdminTokenFile,
	)
	o.line("\nStart this node:\n\n  %s", startCommand(c))
	o.line("\nJoin other machines (for %s, expires %s):\n\n  %s", count(a.JoinUses, "machine"), p.when(a.JoinExpires), a.JoinCommand)
	if a.RecoveryKey == "" { // restored
		o.line("\nThe recovery key stays: it opens this cluster's snapshots too.")
		return
	}
	o.line("\nThe recovery key opens snapshots when all servers are lost. It is shown only now:\n\n  %s", a.RecoveryKey)
	o.line("\nnext: keep the recovery key somewhere else than on these machines")
}

// startCommand starts the node with the flags that stood on this line: they are not
// kept in the data directory.
func startCommand(c *cli.Context) string {
	var flags []string
	add := func(name, value string) { flags = append(flags, " --"+name+" "+shellQuote(value)) }
	if path := c.String("config"); path != "" {
		add("config", path)
	}
	line := given(c)
	for _, f := range config.Fields() {
		if f.Flag == "name" || f.Flag == "join-token-file" { // of use but once
			continue
		}
		for _, v := range line[f.Flag] {
			add(f.Flag, v)
		}
	}
	return "usher agent" + strings.Join(flags, "")
}

func initFailure(cfg config.Config, err error) error {
	switch {
	case isHeld(err):
		return failed("stop the agent, or name another directory with --data-dir", "%w", err)
	case errors.Is(err, config.ErrAdvertise):
		return permanent("give --advertise ADDRESS", "%w", err)
	case isPermanent(err):
		return permanent("start what is there with usher agent, or name another directory with --data-dir", "%w", err)
	}
	return failed("", "make a cluster in %s: %w", cfg.DataDir, err)
}

// saveAdminToken keeps the first admin token where only this user reads it. Init
// refuses where a node exists, so a file that is there belongs to no cluster any
// more.
func saveAdminToken(dataDir, token string) (string, error) {
	path := filepath.Join(dataDir, adminTokenName)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("save admin token: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("save admin token: %w", err)
	}
	_, err = f.WriteString(token + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("save admin token: %w", err)
	}
	return path, nil
}

//go:build unix

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Etcd is a cluster of etcd's members on loopback, set as comparably to ours as it
// can be: mutual TLS between the members, clients in the clear who show a token,
// which etcd gives them for a password. Everything else is as etcd comes.
type Etcd struct {
	Members []*Process
	Client  *EtcdClient
}

// EtcdBinaries are etcd itself and the client of scripts/etcdbench.
type EtcdBinaries struct {
	Server string
	Client string
}

// OpenEtcd makes a cluster below dir and returns when it has a leader and asks for
// tokens.
func OpenEtcd(ctx context.Context, b EtcdBinaries, dir string, n int) (*Etcd, error) {
	e := &Etcd{}
	if err := e.open(ctx, b, dir, n); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Etcd) open(ctx context.Context, b EtcdBinaries, dir string, n int) error {
	ports, err := FreePorts(ctx, 2*n)
	if err != nil {
		return err
	}
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	caFile := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(caFile, ca.pem, 0o600); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	var initial, clients []string
	for i := range n {
		initial = append(initial, fmt.Sprintf("m%d=https://%s", i+1, ports[2*i]))
		clients = append(clients, ports[2*i+1])
	}
	for i := range n {
		name := fmt.Sprintf("m%d", i+1)
		cert, key := filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
		if err := ca.issue(name, cert, key); err != nil {
			return err
		}
		e.Members = append(e.Members, &Process{Name: name, log: filepath.Join(dir, name+".log"), args: []string{
			b.Server, "--name", name, "--data-dir", filepath.Join(dir, name),
			"--listen-peer-urls", "https://" + ports[2*i], "--initial-advertise-peer-urls", "https://" + ports[2*i],
			"--listen-client-urls", "http://" + clients[i], "--advertise-client-urls", "http://" + clients[i],
			"--initial-cluster", strings.Join(initial, ","), "--initial-cluster-state", "new", "--initial-cluster-token", filepath.Base(dir),
			"--peer-client-cert-auth", "--peer-trusted-ca-file", caFile, "--peer-cert-file", cert, "--peer-key-file", key,
			// A member that was started again knows no token any more, and all clients show their
			// passwords at once: at its default cost that takes longer than a try may.
			"--bcrypt-cost", "4",
			"--logger", "zap", "--log-level", "error",
		}})
	}
	for _, m := range e.Members {
		if err := m.Start(); err != nil {
			return err
		}
	}
	if e.Client, err = openEtcdClient(ctx, b.Client, clients); err != nil {
		return err
	}
	if err := e.Client.setUp(ctx); err != nil {
		return fmt.Errorf("set etcd up: %w; the last words of its first member:\n%s", err, e.Members[0].Words())
	}
	return nil
}

// Close ends client and members. Their directories stay.
func (e *Etcd) Close() error {
	var err error
	if e.Client != nil {
		err = e.Client.Close()
	}
	return errors.Join(err, stopAll(e.Members))
}

// PIDs of the members that run.
func (e *Etcd) PIDs() []int { return pids(e.Members) }

// Versions says what was measured; tree names what usher was built from.
func Versions(ctx context.Context, tree string, b EtcdBinaries) (string, error) {
	if b.Server == "" {
		return "usher " + tree + ", no etcd", nil
	}
	out, err := exec.CommandContext(ctx, b.Server, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask etcd for its version: %w", err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return "usher " + tree + ", etcd " + strings.TrimSpace(strings.TrimPrefix(first, "etcd Version:")), nil
}

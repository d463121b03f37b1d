package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/scripts/bench"
)

// Document is the name of the document that every engine has.
const Document = "sales"

// Config says what is made.
type Config struct {
	Binary string // of usher, built with the tag lab
	Nodes  int
	Spare  int      // further machines, with disks and without agents
	Disks  bool     // each node has a file system of its own, which can lose power
	API    bool     // the agents' admin APIs listen at API, too, where only a token lets in
	Env    []string // of the agents, NAME=VALUE; USHER_... changes how they are configured
}

// World is a cluster and what it stands on. Its nodes do not change; the agents on them do.
type World struct {
	Dir   string
	Nodes []*Node
	Spare []*Node // machines that are no members
	// AdminToken, JoinToken and RecoveryKey are what usher init printed.
	AdminToken, JoinToken, RecoveryKey string

	cfg       Config
	all       []*Node
	pid       int
	tag       string
	net       *network
	documents string
	closing   chan struct{}
	wg        sync.WaitGroup // of the nodes' keepers
}

// Missing says what this machine lacks; "" is nothing.
func Missing() string {
	if os.Geteuid() != 0 {
		return "that needs root"
	}
	for _, tool := range []string{"ip", "nft", "nsenter", "mkfs.ext4", "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			return tool + " is not installed"
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return "there are no loop devices here"
	}
	return noNetworks()
}

// noNetworks says why there can be no namespaces and rules here, as in most containers.
func noNetworks() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	name := tagOf(os.Getpid()) + "-try"
	if err := run(ctx, "ip", "netns", "add", name); err != nil {
		return "network namespaces cannot be made here: " + err.Error()
	}
	why := ""
	if err := run(ctx, "ip", "netns", "exec", name, "nft", "add", "table", "inet", "try"); err != nil {
		why = "rules of nftables cannot be made here: " + err.Error()
	}
	if err := run(ctx, "ip", "netns", "delete", name); err != nil && why == "" {
		why = err.Error()
	}
	return why
}

// Open makes a cluster and returns when all its servers vote. One at a time may exist in
// a process.
func Open(ctx context.Context, cfg Config) (*World, error) {
	pid := os.Getpid()
	w := &World{cfg: cfg, pid: pid, tag: tagOf(pid), closing: make(chan struct{})}
	if err := w.open(ctx); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *World) open(ctx context.Context) (err error) {
	if w.Dir, err = bench.Directory(w.tag + "-"); err != nil {
		return err
	}
	if err := w.makeDocuments(); err != nil {
		return err
	}
	if w.net, err = openNetwork(ctx, w.tag, w.pid, w.cfg.Nodes+w.cfg.Spare); err != nil {
		return fmt.Errorf("make networks: %w", err)
	}
	for i := range w.cfg.Nodes + w.cfg.Spare {
		if err := w.add(ctx, i); err != nil {
			return err
		}
	}
	w.Nodes, w.Spare = w.all[:w.cfg.Nodes:w.cfg.Nodes], w.all[w.cfg.Nodes:]
	return w.gather(ctx)
}

func (w *World) add(ctx context.Context, i int) (err error) {
	n := &Node{
		Name: w.nameOf(i), IP: w.net.address(i), Door: fmt.Sprintf("%s:%d", w.net.address(i), doorPort),
		index: i, w: w,
	}
	n.Socket = filepath.Join(w.Dir, n.Name+".sock")
	if n.Client, err = admin.NewClient(admin.ClientConfig{Address: "unix:" + n.Socket}); err != nil {
		return fmt.Errorf("make client of %s: %w", n.Name, err)
	}
	w.all = append(w.all, n)
	if w.cfg.Disks {
		n.disk, err = openDisk(ctx, w.Dir, n.Name)
		return err
	}
	return os.Mkdir(n.Top(), ownerExecution)
}

// nameOf tells spare machines from the first ones.
func (w *World) nameOf(i int) string {
	if i < w.cfg.Nodes {
		return fmt.Sprintf("n%d", i+1)
	}
	return fmt.Sprintf("spare%d", i-w.cfg.Nodes+1)
}

// rows of the document; enough that a reload takes a moment.
const rows = 2000

func (w *World) makeDocuments() error {
	w.documents = filepath.Join(w.Dir, "documents")
	if err := os.Mkdir(w.documents, ownerExecution); err != nil {
		return fmt.Errorf("make documents: %w", err)
	}
	f, err := os.Create(filepath.Join(w.documents, Document+".csv"))
	if err != nil {
		return fmt.Errorf("make documents: %w", err)
	}
	fmt.Fprintln(f, "region,product,units")
	r := rand.New(rand.NewPCG(1, 2))
	for range rows {
		fmt.Fprintf(f, "region %d,product %d,%d\n", r.IntN(8), r.IntN(100), r.IntN(1000))
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("make documents: %w", err)
	}
	return nil
}

// gather makes the cluster as an operator does: init, then join with the token that
// init printed.
func (w *World) gather(ctx context.Context) error {
	first := w.Nodes[0]
	args := append(append(first.enter(), w.cfg.Binary, "init", "--output", "json", "--cluster-name", "laboratory"), first.own()...)
	init := exec.CommandContext(ctx, args[0], args[1:]...)
	init.Env, init.Stderr = plainEnv(), os.Stderr
	out, err := init.Output()
	if err != nil {
		return fmt.Errorf("usher init: %w", err)
	}
	var made struct {
		AdminToken  string `json:"admin_token"`
		JoinToken   string `json:"join_token"`
		RecoveryKey string `json:"recovery_key"`
	}
	if err := json.Unmarshal(out, &made); err != nil {
		return fmt.Errorf("read what usher init printed: %w", err)
	}
	w.AdminToken, w.JoinToken, w.RecoveryKey = made.AdminToken, made.JoinToken, made.RecoveryKey
	for i, n := range w.Nodes {
		if i > 0 {
			n.JoinAnew(made.JoinToken, w.Nodes[:1])
		}
		if err := n.Start(); err != nil {
			return err
		}
		if i == 0 {
			if err := Until(ctx, 20*time.Second, "the first agent has a quorum", func(ctx context.Context) error {
				return n.ok(ctx, 1)
			}); err != nil {
				return fmt.Errorf("%w; its last words:\n%s", err, n.words())
			}
		}
	}
	return w.Whole(ctx, 40*time.Second)
}

// Close ends the agents and removes everything. What cannot be removed is in the error,
// and is removed by a later Sweep. Run it also after a failed Open.
func (w *World) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	w.End(ctx)
	_, err := sweep(ctx, w.pid)
	if left := Leftovers(w.pid); len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("it could not be removed: %v", left))
	}
	return err
}

// End kills all agents and lets their clients go; directories stay.
func (w *World) End(ctx context.Context) {
	select {
	case <-w.closing:
		return
	default:
		close(w.closing)
	}
	for _, n := range w.all {
		if n.disk != nil {
			_ = n.disk.thaw() // most are not frozen
		}
		_ = n.Kill(ctx) // sweep ends what does not end here, and says so
		n.Client.Close()
	}
	w.wg.Wait()
}

// Others are all nodes but these.
func (w *World) Others(but ...*Node) []*Node {
	var out []*Node
next:
	for _, n := range w.Nodes {
		for _, b := range but {
			if n == b {
				continue next
			}
		}
		out = append(out, n)
	}
	return out
}

// Find is the node of that name, or nil.
func (w *World) Find(name string) *Node {
	for _, n := range w.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

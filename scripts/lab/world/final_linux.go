package world

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/fsm"
)

// Stored is the state on a node's disk: what a start from its files alone would have
// after every entry of its log.
type Stored struct {
	Hashes map[uint64]string // of the last few revisions, one per entry
	Last   uint64            // revision
}

// lastEntries is for how many entries at the end hashes are taken: logs may differ by
// what was written while the agents were stopped one after the other.
const lastEntries = 64

// Replay reads the state from the node's disk. Its agent must not run.
func (n *Node) Replay() (_ Stored, err error) {
	s := Stored{Hashes: map[uint64]string{}}
	stores, err := consensus.OpenStores(filepath.Join(n.Data(), "raft"), zerolog.Nop())
	if err != nil {
		return s, fmt.Errorf("%s: %w", n.Name, err)
	}
	defer func() { err = errors.Join(err, stores.Close()) }()
	machine := fsm.New(fsm.Options{})
	from, err := restore(stores, machine)
	if err != nil {
		return s, fmt.Errorf("%s: restore snapshot: %w", n.Name, err)
	}
	last, err := stores.Logs.LastIndex()
	if err != nil {
		return s, fmt.Errorf("%s: read the log: %w", n.Name, err)
	}
	for i := from + 1; i <= last; i++ {
		entry, err := entryAt(stores.Logs.GetLog, i)
		if err != nil {
			return s, fmt.Errorf("%s: read entry %d of the log: %w", n.Name, i, err)
		}
		if failed, ok := (fsm.Raft{FSM: machine}).Apply(entry).(error); ok {
			return s, fmt.Errorf("%s: apply entry %d: %w", n.Name, i, failed)
		}
		if i+lastEntries > last {
			v := machine.View()
			s.Hashes[v.Revision()] = v.Hash()
		}
	}
	s.Last = machine.View().Revision()
	s.Hashes[s.Last] = machine.View().Hash()
	return s, nil
}

// Stored stops all agents and reads what is on their disks. at is the last revision that
// all of them have a hash of.
func (w *World) Stored(ctx context.Context) (all map[string]Stored, at uint64, err error) {
	all = map[string]Stored{}
	common := map[uint64]int{}
	for _, n := range w.Nodes {
		if err := n.Stop(ctx); err != nil {
			return nil, 0, err
		}
	}
	for _, n := range w.Nodes {
		s, err := n.Replay()
		if err != nil {
			return nil, 0, fmt.Errorf("read the state on the disk: %w", err)
		}
		all[n.Name] = s
		for revision := range s.Hashes {
			common[revision]++
		}
	}
	for revision, n := range common {
		if n == len(w.Nodes) {
			at = max(at, revision)
		}
	}
	if at == 0 {
		return nil, 0, errors.New("the states on the disks have no revision in common")
	}
	return all, at, nil
}

// entryAt reads an entry of a log, whose type belongs to a library that is not ours to use.
func entryAt[T any](get func(uint64, *T) error, i uint64) (*T, error) {
	entry := new(T)
	return entry, get(i, entry)
}

// restore takes the newest snapshot, and returns the index of its last entry.
func restore(stores *consensus.Stores, machine *fsm.FSM) (uint64, error) {
	list, err := stores.Snapshots.List()
	if err != nil || len(list) == 0 {
		return 0, err
	}
	meta, r, err := stores.Snapshots.Open(list[0].ID)
	if err != nil {
		return 0, err
	}
	if err := machine.Restore(io.NopCloser(r)); err != nil {
		return 0, errors.Join(err, r.Close())
	}
	return meta.Index, r.Close()
}

// Descriptors counts the open files of the node's agent.
func (n *Node) Descriptors() (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.PID()))
	if err != nil {
		return 0, fmt.Errorf("count descriptors of %s: %w", n.Name, err)
	}
	return len(entries), nil
}

// Connections are the TCP connections of the node's network, as the kernel lists them.
func (n *Node) Connections() ([]byte, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", n.PID()))
	if err != nil {
		return nil, fmt.Errorf("list connections of %s: %w", n.Name, err)
	}
	return text, nil
}

// Settings are all settings as the node has them.
func (n *Node) Settings(ctx context.Context) (admin.List[admin.Setting], error) {
	return n.Client.Settings(ctx, admin.Stale())
}

// Term is Raft's, as the node knows it.
func (n *Node) Term(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	s, err := n.Client.Status(ctx, admin.Stale())
	return s.Raft.Term, err
}

const maxMetrics = 4 << 20

// Goroutines counts those of the node's agent.
func (n *Node) Goroutines(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", n.Socket)
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask %s for its metrics: %w", n.Name, err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(io.LimitReader(resp.Body, maxMetrics))
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			return strconv.Atoi(text)
		}
	}
	return 0, errors.Join(lines.Err(), fmt.Errorf("%s has no metric of its goroutines: status %d", n.Name, resp.StatusCode))
}

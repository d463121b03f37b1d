package night

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/load"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// night is one of the table.
type night struct {
	name  string
	about string
	nodes int
	spare int // machines to join, or to begin anew on
	// lives means that the cluster itself is not lost: its clients go on throughout, and their
	// history is judged as in any run of the laboratory.
	lives bool
	quiet bool // nobody but the night itself changes settings and tasks
	do    func(ctx context.Context, s *stage) error
}

// Bounds of a night's parts.
const (
	startWithin = 2 * time.Minute
	wholeWithin = 90 * time.Second
	finalWithin = 90 * time.Second
	stopWithin  = time.Minute
	leakWithin  = 10 * time.Second
	giveUp      = 3 * time.Second // for clients of a cluster that is lost
)

// Load of a night, beside the ledger's.
const (
	sessions = 40
	knockers = 10 // sessions whose cookies are used again after the night
)

// stage is one night's world, and what is known of it. One goroutine goes through the night.
type stage struct {
	night
	w        *world.World
	book     book
	rng      *rand.Rand
	seed     uint64
	dir      string // for the history and what is kept
	progress io.Writer

	began    time.Time // the zero of the history's times
	rec      *history.Recorder
	load     *load.Load
	ledger   *writers
	visitors []*visitor

	mu     sync.Mutex
	losses []history.Loss
	said   said
	// mustLose: something that was acknowledged has to be lost, or the night shows nothing.
	mustLose bool
	alsoGood string // an API token that was printed this night
	result   result
}

// play goes through the night. Its error is whatever went wrong.
func (s *stage) play(ctx context.Context, binary string) (err error) {
	if s.w, err = world.Open(ctx, world.Config{Binary: binary, Nodes: s.nodes, Spare: s.spare, Disks: true, API: true}); err != nil {
		return fmt.Errorf("make the world: %w", err)
	}
	defer func() { // an error of a death is kept by the caller
		if err != nil {
			err = errors.Join(err, s.keepLogs())
		}
		err = errors.Join(err, s.w.Close())
	}()
	before, err := s.w.Resources(ctx)
	if err != nil {
		return err
	}
	s.began = time.Now()
	if s.rec, err = history.Open(filepath.Join(s.dir, "history.jsonl"), s.began); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.rec.Close()) }()
	defer s.release()
	if err := s.begin(ctx); err != nil {
		return err
	}
	if err := s.do(ctx, s); err != nil {
		return err
	}
	return s.end(ctx, before)
}

// begin lets the clients work for a while.
func (s *stage) begin(ctx context.Context) (err error) {
	start, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	at := map[string]*world.Node{}
	cfg := load.Config{
		Seed: s.seed, Rec: s.rec, Writers: 2, Comparers: 2, Readers: 3, Tasks: 2, Sessions: sessions, SocketShare: 5, Document: world.Document,
		DialEngine: func(ctx context.Context, node, address string) (net.Conn, error) { return at[node].Dial(ctx, address) },
	}
	if s.quiet {
		cfg.Writers, cfg.Comparers, cfg.Tasks = 0, 0, 0
	}
	for _, n := range s.w.Nodes {
		at[n.Name] = n
		cfg.Nodes = append(cfg.Nodes, load.Node{Name: n.Name, API: "unix:" + n.Socket, Door: n.Door})
	}
	if s.load, err = load.Start(start, cfg); err != nil {
		return err
	}
	for i := range knockers {
		v := &visitor{cookies: map[string]string{}}
		s.visitors = append(s.visitors, v)
		if err := v.knock(start, s.w.Nodes[i%len(s.w.Nodes)]); err != nil {
			return err
		}
	}
	if s.ledger, err = openWriters(start, s.w.Nodes); err != nil {
		return err
	}
	return s.wait(ctx, 3*time.Second)
}

func (s *stage) wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// release ends whoever still works, without waiting for what they do.
func (s *stage) release() {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if s.ledger != nil {
		s.ledger.stop()
	}
	if s.load != nil {
		_ = s.load.Stop(over) // it says that it was not waited for
	}
}

// abandon ends the clients of a cluster that is lost: what they have under way fails.
func (s *stage) abandon(ctx context.Context) {
	s.ledger.stop()
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	_ = s.load.Stop(ctx) // nobody is left who could say that the tasks are over
}

// lost notes the loss of a node for the judgement of requests; back its end.
func (s *stage) lost(n *world.Node, kind history.LossKind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.rec.Now()
	s.load.Lost(n.Name, at)
	s.losses = append(s.losses, history.Loss{Node: n.Name, Kind: kind, At: at})
}

func (s *stage) back(n *world.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.rec.Now()
	for i := range s.losses {
		if s.losses[i].Node == n.Name && s.losses[i].Back == 0 {
			s.losses[i].Back = at
			s.load.Back(n.Name, at)
		}
	}
}

// saw notes what was checked, for people.
func (s *stage) saw(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	s.result.Checked = append(s.result.Checked, line)
	fmt.Fprintf(s.progress, "  %s: %s\n", s.rec.Now().Round(100*time.Millisecond), line)
}

// keepLogs copies what agents said, and their logs of the cluster, to where it stays.
func (s *stage) keepLogs() error {
	var errs error
	for _, n := range slices.Concat(s.w.Nodes, s.w.Spare) {
		if err := n.CopyData("raft", filepath.Join(s.dir, n.Name+".raft")); err != nil {
			errs = errors.Join(errs, err)
		}
		text, err := os.ReadFile(n.Log())
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(s.dir, n.Name+".log"), text, 0o644)
		}
		errs = errors.Join(errs, err)
	}
	return errs
}

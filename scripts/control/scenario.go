//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
	"github.com/ushercluster/usher/scripts/bench"
)

// Names of the systems.
const (
	usherName = "usher"
	etcdName  = "etcd"
)

// nodes is the size of the clusters.
const nodes = 3

// warmUp comes before each measurement and does not count.
const warmUp = 300 * time.Millisecond

// kind is what is asked. The words are those of scripts/etcdbench.
type kind string

const (
	put   kind = "put"
	get   kind = "get"   // linearizable
	stale kind = "stale" // what the node has; etcd calls it serializable
)

// scenario is one measurement.
type scenario struct {
	name     string
	kind     kind
	workers  int
	follower bool // through a follower, else through the leader
}

// Names of the scenarios that goals are about.
const (
	oneWriter    = "writes, 1 writer"
	manyWriters  = "writes, 64 writers"
	followWrites = "writes, 64 writers, through a follower"
	linearizable = "linearizable reads, 64 readers"
)

var scenarios = [...]scenario{
	{oneWriter, put, 1, false},
	{"writes, 8 writers", put, 8, false},
	{manyWriters, put, 64, false},
	{followWrites, put, 64, true}, // right beside what it is compared with
	{"writes, 256 writers", put, 256, false},
	{linearizable, get, 64, false},
	{"stale reads, 64 readers", stale, 64, false},
}

// inTurn is the order of the scenarios in a round. Those two that are compared with each
// other change places each time, for a machine is not equally fast all the time.
func inTurn(round int) []scenario {
	order := slices.Clone(scenarios[:])
	if round%2 == 1 {
		i := slices.IndexFunc(order, func(s scenario) bool { return s.name == followWrites })
		order[i-1], order[i] = order[i], order[i-1]
	}
	return order
}

// sample is what one measurement found.
type sample struct {
	ops           int
	took          time.Duration
	p50, p95, p99 time.Duration
	servers       time.Duration // processor time of the three processes together
	client        time.Duration
}

// newSample needs at least one latency; they are sorted in place.
func newSample(latencies []time.Duration, took, servers, client time.Duration) (sample, error) {
	if len(latencies) == 0 {
		return sample{}, fmt.Errorf("nothing was answered within %s", took)
	}
	slices.Sort(latencies)
	return sample{
		ops: len(latencies), took: took, servers: servers, client: client,
		p50: bench.Percentile(latencies, 0.50), p95: bench.Percentile(latencies, 0.95), p99: bench.Percentile(latencies, 0.99),
	}, nil
}

func (s sample) rate() float64 { return float64(s.ops) / s.took.Seconds() }

// each is processor time of the servers for one answer; its client's likewise.
func (s sample) each() time.Duration       { return s.servers / time.Duration(s.ops) }
func (s sample) clientEach() time.Duration { return s.client / time.Duration(s.ops) }

func (s sample) line(name string) string {
	return fmt.Sprintf("%-40s %8.0f/s  p50 %s  p95 %s  p99 %s  CPU %s µs each, client %s µs", name, s.rate(),
		milliseconds(s.p50), milliseconds(s.p95), milliseconds(s.p99), microseconds(s.each()), microseconds(s.clientEach()))
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}
func microseconds(d time.Duration) string {
	return fmt.Sprintf("%.0f", float64(d)/float64(time.Microsecond))
}

// cluster is a running system under measurement.
type cluster interface {
	measure(ctx context.Context, what scenario, d time.Duration) (sample, error)
	verify(ctx context.Context) error // everything acknowledged is there, everywhere
	Close() error
}

type system struct {
	name string
	open func(ctx context.Context, dir string) (cluster, error)
}

// commandBytes is the length of one write of ours in the log.
func commandBytes() (int, error) {
	cmd, err := fsm.Encode(&fsm.SetSetting{Key: bench.Setting(0), Value: bench.Value(0, 123456)})
	if err != nil {
		return 0, fmt.Errorf("encode a command: %w", err)
	}
	entry, err := fsm.EncodeEntry(fsm.Entry{Now: fsm.StampOf(time.Now()), Items: []fsm.Item{{
		Known: 123456, Actor: fsm.Actor{Kind: fsm.ActorToken, ID: "0123456789abcdef", Via: peer.ID("0123456789abcdef0123456789abcdef")}, Command: cmd,
	}}})
	return len(entry), err
}

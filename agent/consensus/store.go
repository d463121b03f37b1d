package consensus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/consensus/pulse"
	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// Forwarder reaches the leader from another node. A NotSentError means that the
// leader certainly did not get the command.
type Forwarder interface {
	// Apply proposes at the leader, which authenticates the caller anew.
	Apply(ctx context.Context, leader peer.ID, p fsm.Proposal) (fsm.Result, error)
}

// Config is what Open needs.
type Config struct {
	Self     peer.ID
	Stores   *Stores
	FSM      *fsm.FSM
	Cache    string // path of state.cache
	Listener net.Listener
	Dial     func(ctx context.Context, to peer.ID) (net.Conn, error)
	Forward  Forwarder
	// Reachable says whether gossip sees a node alive, for messages; nil: unknown.
	Reachable func(peer.ID) bool
	// Election is Raft's heartbeat, election and lease timeout in one.
	Election time.Duration
	// LogBudget is after how many bytes of log there is a snapshot at once; 0: 64 MiB.
	LogBudget int64
	// NoDetection leaves a leader whose process has died to Raft's timeouts, so that they can
	// be measured alone. It has to be the same on all nodes; only laboratories want it.
	NoDetection bool
	Now         func() time.Time // nil: time.Now
	Fatal       func(error)      // called once, from any goroutine, when the process must end
	Log         zerolog.Logger
	Registerer  prometheus.Registerer
	Pulse       Pulse
}

// Pulse is what the servers' pulse needs (package pulse).
type Pulse struct {
	Boot     uint64
	Listener net.Listener
	Remote   func(net.Conn) (peer.ID, bool)
	Dial     func(ctx context.Context, to peer.ID) (net.Conn, error)
	// Refused reports whether a server's host is there and nobody listens on its
	// port: its process is gone. nil: elections wait for Raft's timeouts.
	Refused func(ctx context.Context, to peer.ID) bool
}

// cachedEntries are the last entries of the log that are kept in memory, 320 KiB each at
// most.
const cachedEntries = 128

// DefaultElection is the election timeout when nothing else is said.
const DefaultElection = 500 * time.Millisecond

// Store is the replicated state as this node sees it. Safe for concurrent use.
type Store struct {
	cfg       Config
	raft      *raft.Raft
	trans     *wrapper
	stream    *stream
	guard     *watchdog
	pretence  *pretence
	snapshots *limited
	appetite  *appetite
	log       zerolog.Logger
	stats     *stats
	cached    *fsm.View // from state.cache; nil when there was none

	term     terms
	config   sync.Mutex   // orders changes of Raft's configuration
	leads    bulletin     // another leader is known, or none
	holds    atomic.Int64 // planned moves and foul clocks that hold proposals back
	released bulletin     // holds, or leadership, has changed
	calls    calls        // to Raft that are under way
	loose    calls        // other work that Close waits for
	queue    chan *parcel
	// committed is the last entry of commands that was applied here as the leader.
	committed atomic.Pointer[mark]
	nudges    nudges
	clock     lastOffset
	reads     rounds // asks the leader
	confirms  rounds // asks the voters
	applied   progress
	pulse     *pulse.Hub
	lost      sync.Map // peer.ID of servers whose pulse ended
	crash     detector
	life      context.Context // ends with stop
	end       context.CancelFunc
	stop      chan struct{}
	wg        sync.WaitGroup
	closed    sync.Once
}

// Open opens Raft on the given stores and starts it. Without state in the stores
// the node waits to be added by a leader. The stores stay the caller's to close.
func Open(cfg Config) (*Store, error) {
	if cfg.Election <= 0 {
		cfg.Election = DefaultElection
	}
	if cfg.LogBudget == 0 {
		cfg.LogBudget = logBudget
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Fatal = once(cfg.Fatal)
	s := &Store{
		cfg: cfg, log: cfg.Log, stop: make(chan struct{}), cached: readCache(cfg.Cache, cfg.Log),
		queue: make(chan *parcel, queueLength), stream: &stream{Listener: cfg.Listener, dial: cfg.Dial},
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.pulse = s.newPulse()
	notify := make(chan bool, 16)
	if err := s.openRaft(notify); err != nil {
		return nil, err
	}
	s.stats = newStats(cfg.Registerer, s)
	s.wg.Go(func() { s.watchLeadership(notify) })
	s.wg.Go(s.watchLeader)
	s.wg.Go(s.pack)
	s.wg.Go(s.keepMark)
	s.wg.Go(s.compact)
	s.wg.Go(s.keepPulse)
	if cfg.Cache != "" {
		s.wg.Go(s.keepCache)
	}
	if st := s.Status(); len(st.Voters) == 1 && st.Voters[0] == cfg.Self {
		s.wg.Go(s.standAlone)
	}
	return s, nil
}

// openRaft starts Raft.
func (s *Store) openRaft(notify chan<- bool) error {
	hl := logs.HCLog(s.log, raft.ErrTransportShutdown, raft.ErrPipelineShutdown, raft.ErrRaftShutdown)
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(s.cfg.Self)
	rc.HeartbeatTimeout, rc.ElectionTimeout, rc.LeaderLeaseTimeout = s.cfg.Election, s.cfg.Election, s.cfg.Election
	rc.NotifyCh = notify
	rc.NoLegacyTelemetry = true
	rc.Logger = hl
	rc.ShutdownOnRemove = false // the agent decides what a removed node does
	s.appetite = newAppetite(max(s.cfg.LogBudget, s.newestSnapshot().Size))
	s.guard = &watchdog{LogStore: s.cfg.Stores.Logs, marker: s.cfg.Stores.marker, ate: s.appetite.ate, log: s.log, fatal: s.cfg.Fatal}
	s.trans = newWrapper(s.cfg.Self, s.stream, hl, s)
	term := &stable{StableStore: s.cfg.Stores.Stable, fatal: s.cfg.Fatal}
	var err error
	if s.trans.novice, err = openNovice(s.cfg.Stores, term); err != nil {
		return fmt.Errorf("open raft: %w", errors.Join(err, s.trans.Close()))
	}
	s.trans.novice.grown = func() {
		s.reload(func(rc *raft.ReloadableConfig) {
			rc.HeartbeatTimeout, rc.ElectionTimeout = s.cfg.Election, s.cfg.Election
		})
	}
	if s.trans.novice.is.Load() {
		rc.HeartbeatTimeout, rc.ElectionTimeout = noviceTimeout, noviceTimeout
	}
	s.snapshots = newLimited(s.cfg.Stores.Snapshots, s.life.Done(), func() int64 { return s.cfg.FSM.View().Int("raft.snapshot_rate") })
	// What was just written is sent to the followers and applied: not from the disk.
	cache, err := raft.NewLogCache(cachedEntries, s.guard)
	if err != nil {
		return fmt.Errorf("open raft: %w", err)
	}
	s.pretence = &pretence{LogStore: cache}
	r, err := raft.NewRaft(rc, machine{fsm.Raft{FSM: s.cfg.FSM}, s.pulse.Changed, &s.applied}, s.pretence, term, s.snapshots, s.trans)
	if err != nil {
		s.end()
		return errors.Join(fmt.Errorf("open raft: %w", err), s.trans.Close())
	}
	s.raft = r
	s.trans.start(s.stop)
	return nil
}

// standAlone lets the only voter of a cluster stand at once: there is nobody whose
// heartbeat an election timeout could wait for.
func (s *Store) standAlone() {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Election)
	defer cancel()
	if err := s.trans.stand(ctx, raft.ServerID(s.cfg.Self)); err != nil {
		s.log.Debug().Err(err).Msg("cannot stand at once; the election timeout will do")
	}
}

// Close stops Raft and what belongs to the store. The listener's connections must
// have been closed before, because Raft reads them without a deadline.
func (s *Store) Close() error {
	var err error
	s.closed.Do(func() {
		s.end()
		s.endCalls(&s.calls)
		s.endCalls(&s.loose)
		err = s.raft.Shutdown().Error()
		close(s.stop)
		s.wg.Wait()
		if merr := s.cfg.Stores.marker.note(); merr != nil {
			s.log.Warn().Err(merr).Msg("the end of the log is not recorded")
		}
		err = errors.Join(err, s.trans.Close())
		<-s.trans.done
		s.stats.close()
	})
	return err
}

// View is the state as this node has it now: stale by up to a replication delay,
// and from state.cache while the live state is older than that.
func (s *Store) View() fsm.View {
	v := s.cfg.FSM.View()
	if s.cached != nil && v.Revision() < s.cached.Revision() {
		return s.cached.WithNewer(v.Newer())
	}
	return v
}

// Status is what Raft knows of itself.
type Status struct {
	Leader       peer.ID // "" when none is known
	IsLeader     bool
	State        string // follower, candidate, leader, shutdown
	Term         uint64
	LastIndex    uint64
	CommitIndex  uint64
	AppliedIndex uint64
	Voters       []peer.ID
	Nonvoters    []peer.ID
	LastContact  time.Duration // since the leader was heard of; -1 for never
}

// LogEnd is the index and the term of the newest entry that this server has, acknowledged
// or not.
func (s *Store) LogEnd() (index, term uint64) {
	end := s.logEnd()
	return end.index, end.term
}

// Quorum reports whether a leader is known and was heard of lately.
func (s Status) Quorum() bool { return s.Leader != "" }

// Status reads Raft's counters. It never blocks on the network.
func (s *Store) Status() Status {
	_, leader := s.raft.LeaderWithID()
	st := Status{
		Leader: peer.ID(leader), IsLeader: s.raft.State() == raft.Leader, State: stateName(s.raft.State()),
		Term: s.raft.CurrentTerm(), LastIndex: s.raft.LastIndex(), CommitIndex: s.raft.CommitIndex(),
		AppliedIndex: s.raft.AppliedIndex(), LastContact: -1,
	}
	if t := s.raft.LastContact(); !t.IsZero() {
		st.LastContact = time.Since(t)
	}
	if st.IsLeader {
		st.LastContact = 0
	}
	for _, srv := range s.servers() {
		if srv.Suffrage == raft.Voter {
			st.Voters = append(st.Voters, peer.ID(srv.ID))
		} else {
			st.Nonvoters = append(st.Nonvoters, peer.ID(srv.ID))
		}
	}
	return st
}

// AwaitLeader waits until a leader is known, as long as writes do: ErrNoQuorum after
// that.
func (s *Store) AwaitLeader(ctx context.Context) (Status, error) {
	for began := time.Now(); ; {
		if st := s.Status(); st.Leader != "" {
			return st, nil
		}
		if time.Since(began) >= leaderlessWait || !pause(ctx, retryFirst) {
			return Status{}, s.gaveUp(ctx, false, nil)
		}
	}
}

func (s *Store) servers() []raft.Server {
	f := s.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

func stateName(s raft.RaftState) string {
	switch s {
	case raft.Leader:
		return "leader"
	case raft.Candidate:
		return "candidate"
	case raft.Follower:
		return "follower"
	}
	return "shutdown"
}

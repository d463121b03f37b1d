package consensus

import (
	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

type stats struct {
	reg           prometheus.Registerer
	all           []prometheus.Collector
	proposals     *prometheus.CounterVec
	applySeconds  prometheus.Histogram
	entryCommands prometheus.Histogram
	leaderChanges prometheus.Counter
}

func newStats(reg prometheus.Registerer, s *Store) *stats {
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	st := &stats{
		reg: reg,
		proposals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usher_raft_proposals_total", Help: "Commands proposed by this node as leader, by result.",
		}, []string{"result"}),
		applySeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "usher_raft_apply_seconds", Help: "Time from proposing a command to its being applied, on the leader.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 15),
		}),
		entryCommands: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "usher_raft_entry_commands", Help: "Commands that were packed into one Raft entry, on the leader.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 9),
		}),
		leaderChanges: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "usher_raft_leadership_changes_total", Help: "Times this node won or lost leadership.",
		}),
	}
	st.all = []prometheus.Collector{
		st.proposals, st.applySeconds, st.entryCommands, st.leaderChanges,
		gauge("usher_raft_term", "Raft term.", func() float64 { return float64(s.raft.CurrentTerm()) }),
		gauge("usher_raft_last_index", "Index of the last log entry on this node.", func() float64 { return float64(s.raft.LastIndex()) }),
		gauge("usher_raft_commit_index", "Commit index known to this node.", func() float64 { return float64(s.raft.CommitIndex()) }),
		gauge("usher_raft_leader", "1 while this node is the leader (the central node).", func() float64 {
			if s.raft.State() == raft.Leader {
				return 1
			}
			return 0
		}),
		gauge("usher_raft_snapshot_limit_bytes", "Most bytes a second at which snapshots are written, sent and received.", func() float64 { return float64(s.snapshots.limit()) }),
		gauge("usher_state_revision", "Revision of the replicated state on this node.", func() float64 { return float64(s.View().Revision()) }),
	}
	if reg != nil {
		reg.MustRegister(st.all...)
	}
	return st
}

func (st *stats) close() {
	if st.reg == nil {
		return
	}
	for _, c := range st.all {
		st.reg.Unregister(c)
	}
}

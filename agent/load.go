package agent

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/mem"

	"github.com/ushercluster/usher/agent/peer"
)

const loadEvery = time.Second

// keepLoad reports this node's load to the others once a second, and at once when
// an engine's health changed.
func (a *Agent) keepLoad(ctx context.Context) error {
	t := time.NewTicker(loadEvery)
	defer t.Stop()
	var seq uint64
	var m Machine
	for {
		seq++
		m = m.smooth(a.opts.Machine(), seq)
		l := a.loadNow(seq, m)
		a.lastLoad.Store(&l)
		a.gossip.Load().Report(l)
		a.endDrain()
		select {
		case <-t.C:
		case <-a.healthChanged:
		case <-ctx.Done():
			return nil
		}
	}
}

// loadNow gathers a report: what the door counts, what the engines say of
// themselves, and the machine.
func (a *Agent) loadNow(seq uint64, m Machine) peer.Load {
	l := peer.Load{Seq: seq, CPUPermille: m.CPUPermille, MemFreeBytes: m.MemFreeBytes, MemTotalBytes: m.MemTotalBytes}
	l.Engines = a.door.Loads()
	for i := range l.Engines {
		e := &l.Engines[i]
		for _, local := range a.engines {
			if local.Name() != e.Name {
				continue
			}
			st := local.Status()
			e.Health = st.Health
			if st.Report != nil {
				e.Permille = st.Report.Permille()
				if keys := st.Report.Keys(peer.MaxDocuments); keys != nil {
					e.Documents = keys
				}
			}
		}
	}
	slices.SortFunc(l.Engines, func(a, b peer.EngineLoad) int { return strings.Compare(a.Name, b.Name) })
	return l
}

// endDrain ends this node's sessions when its drain's deadline has passed: their
// next requests open sessions elsewhere.
func (a *Agent) endDrain() {
	n := a.view().Node(a.self)
	if n == nil || n.State != peer.StateDraining || n.StateUntil == 0 || a.now().Before(n.StateUntil.Time()) {
		return
	}
	ended := 0
	for _, s := range a.door.Sessions(nil) {
		if a.door.CloseSession(s.ID) {
			ended++
		}
	}
	if ended > 0 {
		a.log.Info().Int("sessions", ended).Msg("the drain's deadline has passed; sessions ended")
	}
}

// Machine is the load of the whole machine.
type Machine struct {
	CPUPermille   int
	MemFreeBytes  uint64
	MemTotalBytes uint64
}

// cpuReports is how many reports the CPU is averaged over: a session lasts for an
// hour, so what counts is the last minute and not the last second.
const cpuReports = 60

// smooth is the machine's load with the CPU averaged; n counts the reports from 1.
func (m Machine) smooth(now Machine, n uint64) Machine {
	now.CPUPermille = m.CPUPermille + (now.CPUPermille-m.CPUPermille)/int(min(n, cpuReports))
	return now
}

// systemLoad reads the machine's load. What cannot be read stays zero, which
// placement takes as unknown: a hardened service may not see /proc.
func systemLoad() Machine {
	var m Machine
	if p, err := cpu.Percent(0, false); err == nil && len(p) == 1 {
		m.CPUPermille = min(max(int(p[0]*10), 0), 1000)
	}
	if v, err := mem.VirtualMemory(); err == nil {
		m.MemFreeBytes, m.MemTotalBytes = v.Available, v.Total
	}
	return m
}

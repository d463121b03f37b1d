package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/durable"
	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// A virtual machine that was reset to an old snapshot brings back an old Raft log
// and vote. It would vote twice in one term and lose what it had acknowledged, so
// it must not speak as the voter that it was. Each start is therefore counted and
// marked by a nonce, here and in the node table, and before Raft is opened the other
// members are asked what they know. A mismatch: the central node takes the vote
// away, the old log is set aside, and this node follows the cluster anew. state.cache
// is asked too: it shows when raft/ alone went back, or is gone, although nobody answers.
//
// A log that is damaged is another matter: openStores refuses it, and a person decides.

const (
	rollbackAsk  = time.Second // for the members' answers, all at once
	rollbackTell = 15 * time.Second
)

// ErrRolledBack means that the cluster knows a later start of this node than its data
// directory does. The next start sets the old state aside and follows the cluster anew.
var ErrRolledBack = errors.New("this data directory was rolled back")

// ErrDamaged means that the state in the data directory lacks what this node had
// acknowledged, or cannot be read. It is permanent: a person has to look at the disk,
// and then to replace the node or to put a whole copy back.
var ErrDamaged = errors.New("this node's state is damaged, and it must not take part with it")

// openStores opens the stores of a data directory. What starting again will not mend
// is permanent: ErrDamaged, and files that may not be read.
func openStores(dataDir string, log zerolog.Logger) (*consensus.Stores, error) {
	if cut, err := recoveryUnfinished(dataDir); cut || err != nil {
		return nil, permanent(errors.Join(err, fmt.Errorf("a recovery in %s was cut short: run usher recover again", dataDir)))
	}
	stores, err := consensus.OpenStores(filepath.Join(dataDir, raftDirName), log)
	var damage *consensus.DamageError
	switch {
	case errors.As(err, &damage):
		return nil, permanent(fmt.Errorf("%w: %w", ErrDamaged, err))
	case errors.Is(err, fs.ErrPermission):
		return nil, permanent(fmt.Errorf("%w: give the data directory to the user that runs the agent", err))
	}
	return stores, err
}

func (a *Agent) guardRollback(ctx context.Context) error {
	record, from := a.recordedBoot(ctx)
	if own := a.rememberedBoot(); own.Number > record.Number {
		record = own
	}
	if !a.boot.RolledBack(record.Number, record.Nonce) {
		return nil
	}
	if from == "" {
		return a.rolledBackAlone(record)
	}
	a.log.Error().Uint64("recorded_start", record.Number).Uint64("own_start", a.boot.Number).
		Msg("the data directory was rolled back; its state is set aside and this node follows the cluster anew")
	tctx, cancel := context.WithTimeout(ctx, rollbackTell)
	defer cancel()
	if err := a.giveUpVote(tctx, from); err != nil {
		return fmt.Errorf("%w, and the cluster could not be told: %w", ErrRolledBack, err)
	}
	if err := a.setStateAside(); err != nil {
		return err
	}
	a.boot.Number = record.Number
	return nil
}

// rememberedBoot is the last start of this node that its own state.cache knows. It is
// later than that of the stable store only when raft/ was rolled back or taken away.
func (a *Agent) rememberedBoot() consensus.Boot {
	n := a.cached.Node(a.self)
	if n == nil {
		return consensus.Boot{}
	}
	return consensus.Boot{Number: n.Boot, Nonce: n.Nonce}
}

// rolledBackAlone says why a node that was rolled back, and reaches nobody, does not
// go on: as the voter that it was it might vote a second time.
func (a *Agent) rolledBackAlone(record consensus.Boot) error {
	err := fmt.Errorf("%s knows start %d of this node, and %s knows start %d",
		cacheFileName, record.Number, raftDirName, a.boot.Number)
	for _, n := range a.cached.Nodes() {
		if n.ID != a.self {
			return fmt.Errorf("%w: %w; no other node answers, so start one of them", ErrRolledBack, err)
		}
	}
	err = fmt.Errorf("%w: %w; there is no other node to follow, so put a whole copy of the data directory back", ErrDamaged, err)
	if a.boot.Number > 0 {
		err = fmt.Errorf("%w, or remove %s to go on with the older state", err, a.cachePath())
	}
	return permanent(err)
}

// recordedBoot is the newest start of this node that any member knows, and who
// knew it.
func (a *Agent) recordedBoot(ctx context.Context) (consensus.Boot, peer.ID) {
	ctx, cancel := context.WithTimeout(ctx, rollbackAsk)
	defer cancel()
	var mu sync.Mutex
	var newest consensus.Boot
	var from peer.ID
	var wg sync.WaitGroup
	for _, n := range a.cached.Nodes() {
		if n.ID == a.self {
			continue
		}
		wg.Go(func() {
			b, err := a.forward.Boot(ctx, n.ID)
			if err != nil {
				a.log.Debug().Err(err).Str(logs.Peer, string(n.ID)).Msg("cannot ask about earlier starts")
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if b.Number >= newest.Number {
				newest, from = consensus.Boot{Number: b.Number, Nonce: b.Nonce}, n.ID
			}
		})
	}
	wg.Wait()
	return newest, from
}

// giveUpVote asks until a central node has taken this node out of Raft.
func (a *Agent) giveUpVote(ctx context.Context, via peer.ID) error {
	for {
		err := a.forward.Forget(ctx, via, "")
		if err == nil {
			return nil
		}
		select {
		case <-time.After(retryVote):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

const retryVote = 250 * time.Millisecond

// setStateAside moves the old log and cache out of the way, for whoever wants to
// look at them, and opens empty stores.
func (a *Agent) setStateAside() error {
	if err := a.stores.Close(); err != nil {
		return err
	}
	suffix := ".rolled-back-" + a.now().UTC().Format("20060102T150405")
	for _, name := range []string{raftDirName, cacheFileName} {
		path := filepath.Join(a.cfg.DataDir, name)
		if err := durable.Rename(path, path+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set old state aside: %w", err)
		}
	}
	stores, err := openStores(a.cfg.DataDir, logs.For(a.log, "raft"))
	if err != nil {
		return err
	}
	a.stores = stores
	return nil
}

// forget takes a node that was rolled back out of Raft; the steward adds it again
// as one without a vote.
func (a *Agent) forget(ctx context.Context, id peer.ID) error {
	st := a.store.Status()
	if !st.IsLeader {
		if st.Leader == "" {
			return consensus.ErrNoQuorum
		}
		return a.forward.Forget(ctx, st.Leader, id)
	}
	a.log.Warn().Str(logs.Peer, string(id)).Msg("node was rolled back and loses its vote until it has caught up")
	return a.store.Remove(ctx, id)
}

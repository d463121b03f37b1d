package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

func showCluster(c *call) (Cluster, error) {
	v, err := c.read()
	if err != nil {
		return Cluster{}, err
	}
	return clusterOf(v)
}

func clusterOf(v fsm.View) (Cluster, error) {
	row := v.Cluster()
	if row == nil {
		return Cluster{}, fsm.ErrNoState
	}
	out := Cluster{
		Row: rowOf(row.Meta), ID: row.UUID, Name: row.Name, Born: row.Born.Time(),
		FeatureLevel: row.FeatureLevel, Fingerprints: make([]string, 0, len(row.Roots)),
	}
	for _, der := range row.Roots {
		sum := sha256.Sum256(der)
		out.Fingerprints = append(out.Fingerprints, hex.EncodeToString(sum[:]))
	}
	return out, nil
}

func renameCluster(c *call, in Rename) (Cluster, error) {
	if _, err := c.propose(&fsm.RenameCluster{Name: in.Name}); err != nil {
		return Cluster{}, err
	}
	return clusterOf(c.view)
}

func showCentral(c *call) (Central, error) {
	v, err := c.read()
	if err != nil {
		return Central{}, err
	}
	return c.centralOf(v), nil
}

func (c *call) centralOf(v fsm.View) Central {
	r := c.s.cfg.Backend.Raft()
	out := Central{Term: r.Term, Quorum: r.Quorum}
	if r.Leader != "" {
		ref := refOf(v, r.Leader)
		out.Node = &ref
	}
	return out
}

func moveCentral(c *call, in CentralMove) (Central, error) {
	b := c.s.cfg.Backend
	before := b.Raft().Leader
	to := peer.ID("")
	if in.To != "" {
		n, err := findNode(b.View(), in.To)
		if err != nil {
			return Central{}, err
		}
		to = n.ID
	}
	if err := moveFailed(b.MoveCentral(c.asCaller(), to)); err != nil {
		return Central{}, err
	}
	if err := c.followed(before, to); err != nil {
		return Central{}, err
	}
	c.show(b.View())
	return c.centralOf(c.view), nil
}

// moveFailed makes a conflict of what kept the role from moving, unless the error
// says better what it is: no node that could take it is no defect.
func moveFailed(err error) error {
	var refused *fsm.Error
	var p *Problem
	if err == nil || errors.As(err, &refused) || errors.As(err, &p) || errors.Is(err, consensus.ErrNoQuorum) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return err
	}
	return problem(http.StatusConflict, CodeConflict, err.Error(), "see usher central show, and try again")
}

// followed waits until this node knows of the new leader: to, or any but before.
func (c *call) followed(before, to peer.ID) error {
	ctx, cancel := context.WithTimeout(c.bounded(), catchUp)
	defer cancel()
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for {
		now := c.s.cfg.Backend.Raft().Leader
		if now != "" && (now == to || to == "" && now != before) {
			return nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return problem(http.StatusConflict, CodeConflict, "the chosen node did not take the central role", "see usher central show, and try again")
		}
	}
}

func whoami(c *call) (Whoami, error) {
	v, err := c.known()
	c.stale, c.age = false, 0 // who asks is not older than the check of the token
	if err != nil {
		return Whoami{}, err
	}
	kind := "token"
	if c.who.kind == fsm.ActorLocal {
		kind = "local"
	}
	return Whoami{
		Kind: kind, ID: c.who.id, Name: c.who.name, Role: string(c.who.role), Expires: c.who.expires, Node: refOf(v, c.self()),
	}, nil
}

// States of Health.
const (
	HealthOK       = "ok"
	HealthNoQuorum = "no_quorum"
	HealthNoState  = "no_state"
)

func health(c *call) (Health, error) {
	b := c.s.cfg.Backend
	switch {
	case b.View().Cluster() == nil:
		return Health{Status: HealthNoState}, nil
	case !b.Raft().Quorum:
		return Health{Status: HealthNoQuorum}, nil
	}
	return Health{Status: HealthOK}, nil
}

func (h Health) httpStatus() int {
	if h.Status == HealthOK {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

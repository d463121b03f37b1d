package door

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/ushercluster/usher/agent/door/upstream"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
)

// Paths between agents. A user's request never carries one: checkHead refuses all
// that is below wellKnown.
const (
	askPath = wellKnown + "/ask"
	endPath = wellKnown + "/end"
)

const (
	maxControlBytes = 16 << 10 // of a body between agents
	maxAsked        = 16       // engines in one question

	// askLife is how long a question may go on after its answer is of no use any
	// more: so that a connection that is slow to open is there for the next one.
	askLife = 2 * time.Second
)

type askRequest struct {
	Session  string   `json:"session"`
	Engines  []string `json:"engines"`
	Document string   `json:"document,omitempty"`
}

type askAnswer struct {
	Engines []offer `json:"engines"`
}

// offer is a placement.Answer on the wire.
type offer struct {
	Name        string `json:"name"`
	OK          bool   `json:"ok"`
	Reason      string `json:"reason,omitempty"`
	Sessions    int    `json:"sessions"`
	InFlight    int    `json:"in_flight"`
	Permille    int    `json:"load_permille"`
	CPUPermille int    `json:"cpu_permille"`
	MemFree     uint64 `json:"memory_free_bytes"`
	MemTotal    uint64 `json:"memory_total_bytes"`
}

func (o offer) answer(node peer.ID) placement.Answer {
	return placement.Answer{
		Engine: peer.MakeEngineID(node, o.Name), OK: o.OK, Reason: placement.Reason(o.Reason),
		Load: placement.Load{
			Sessions: o.Sessions, InFlight: o.InFlight, Permille: o.Permille, CPUPermille: o.CPUPermille,
			MemFreeBytes: o.MemFree, MemTotalBytes: o.MemTotal,
		},
	}
}

// ask asks the owners of the engines for a place, one call for each node, and
// returns what was answered within the time for it. Engines beside this door need
// no call.
func (d *Door) ask(ctx context.Context, w want, cs []placement.Candidate) []placement.Answer {
	began := d.cfg.Now()
	var answers []placement.Answer
	remote := map[peer.ID][]string{}
	for _, c := range cs {
		if node := c.Engine.Node(); node != d.cfg.Self {
			remote[node] = append(remote[node], c.Engine.Name())
			continue
		}
		a := d.owner.offer(w.session, c.Engine.Name(), c.Load)
		a.Engine = c.Engine
		answers = append(answers, a)
	}
	if len(remote) == 0 {
		return answers
	}
	got := make(chan []placement.Answer, len(remote))
	for node, names := range remote {
		d.life.asks.Go(func() {
			ctx, cancel := context.WithTimeout(d.life.ctx, askLife)
			defer cancel()
			as, err := d.askNode(ctx, node, askRequest{w.session.String(), names, w.request.Document})
			if err != nil {
				d.log.Debug().Str("peer", string(node)).Err(err).Msg("no answer to a question for a place")
			}
			got <- as
		})
	}
	timer := time.NewTimer(d.settings().Place.AskTimeout)
	defer timer.Stop()
	for range remote {
		select {
		case as := <-got:
			answers = append(answers, as...)
			continue
		case <-timer.C:
		case <-ctx.Done():
		}
		break
	}
	d.metrics.ask(d.cfg.Now().Sub(began))
	return answers
}

func (d *Door) askNode(ctx context.Context, node peer.ID, q askRequest) ([]placement.Answer, error) {
	var a askAnswer
	if err := d.control(ctx, node, askPath, q, &a); err != nil {
		return nil, err
	}
	answers := make([]placement.Answer, 0, len(a.Engines))
	for _, o := range a.Engines {
		answers = append(answers, o.answer(node))
	}
	return answers, nil
}

// control makes one call between agents: JSON there and back.
func (d *Door) control(ctx context.Context, node peer.ID, path string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode call: %w", err)
	}
	resp, err := d.peers.to(node).RoundTrip(ctx, &upstream.Request{
		Method: http.MethodPost, Target: path, Host: string(node),
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   bytes.NewReader(b), ContentLength: int64(len(b)),
	})
	if err != nil {
		return fmt.Errorf("call agent: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxControlBytes))
	_ = resp.Body.Close() // the connection is not used again if it was not read to the end
	switch {
	case err != nil:
		return fmt.Errorf("read answer of agent: %w", err)
	case resp.Status != http.StatusOK:
		return fmt.Errorf("agent answered %d", resp.Status)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("decode answer of agent: %w", err)
	}
	return nil
}

// answerAsk is the owner's side of ask.
func (d *Door) answerAsk(q askRequest) (askAnswer, error) {
	id, err := ParseSessionID(q.Session)
	if err != nil {
		return askAnswer{}, err
	}
	if len(q.Engines) > maxAsked {
		return askAnswer{}, fmt.Errorf("%d engines in one question", len(q.Engines))
	}
	var out askAnswer
	for _, name := range q.Engines {
		a := d.owner.offer(id, name, d.ownLoad(name))
		l := a.Load
		out.Engines = append(out.Engines, offer{
			name, a.OK, string(a.Reason), l.Sessions, l.InFlight, l.Permille, l.CPUPermille, l.MemFreeBytes, l.MemTotalBytes,
		})
	}
	return out, nil
}

// ownLoad is what this node reported last of one of its engines.
func (d *Door) ownLoad(name string) placement.Load {
	if dir := d.cfg.Directory(); dir != nil {
		id := peer.MakeEngineID(d.cfg.Self, name)
		for _, c := range dir.Engines {
			if c.Engine == id {
				return c.Load
			}
		}
	}
	return placement.Load{Permille: -1}
}

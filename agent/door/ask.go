package door

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/door/upstream"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
)

// Paths between agents. A user's request never carries one: checkHead refuses all
// that is below wellKnown.
const (
	askPath   = wellKnown + "/ask"
	endPath   = wellKnown + "/end"
	reachPath = wellKnown + "/reach"
)

const (
	maxControlBytes = 64 << 10 // of a body between agents
	maxAsked        = 16       // engines in one question

	// askLife is how long a question may go on after its answer is of no use any
	// more: so that a connection that is slow to open is there for the next one.
	askLife = 2 * time.Second
)

// askBatch is the body of a call: questions that travel together.
type askBatch struct {
	Questions []askRequest `json:"questions"`
}

// answerBatch answers the questions in their order.
type answerBatch struct {
	Answers []askAnswer `json:"answers"`
}

type askRequest struct {
	Session  string   `json:"session"`
	Engines  []string `json:"engines"`
	Document string   `json:"document,omitempty"`
	// Since is a stamp of the asking door: it counts what it decided later by itself.
	Since stamp `json:"since,omitempty"`
	// Release gives back the places that were kept for the session at the engines,
	// because it went elsewhere; there is nothing to answer.
	Release bool `json:"release,omitempty"`
}

type askAnswer struct {
	Engines []offer `json:"engines"`
}

// offer is a placement.Answer on the wire.
type offer struct {
	Name        string `json:"name"`
	OK          bool   `json:"ok"`
	Reason      string `json:"reason,omitempty"`
	Sessions    int    `json:"sessions"`  // open askLag ago
	InFlight    int    `json:"in_flight"` // on average
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
// returns what was answered within the time for it, and the nodes that are late: not
// those whose call failed. Engines beside this door need no call.
func (d *Door) ask(ctx context.Context, w want, cs []placement.Candidate) (answers []heard, late []peer.ID) {
	began := d.cfg.Now()
	since := stampAt(began.Add(-askLag))
	remote := map[peer.ID][]string{}
	for _, c := range cs {
		if node := c.Engine.Node(); node != d.cfg.Self {
			remote[node] = append(remote[node], c.Engine.Name())
			continue
		}
		name := c.Engine.Name()
		a := d.owner.offer(w.session, name, d.ownLoad(name), asking{d.cfg.Self, since})
		a.Engine = c.Engine
		answers = append(answers, heard{Answer: a, since: since})
	}
	if len(remote) == 0 {
		return answers, nil
	}
	type reply struct {
		node    peer.ID
		answers []placement.Answer
	}
	got := make(chan reply, len(remote))
	for node, names := range remote {
		d.spawn(func() {
			ctx, cancel := context.WithTimeout(d.life.ctx, askLife)
			defer cancel()
			as, err := d.askNode(ctx, node, askRequest{
				Session: w.session.String(), Engines: names, Document: w.request.Document, Since: since,
			})
			if err != nil {
				d.log.Debug().Str("peer", string(node)).Err(err).Msg("no answer to a question for a place")
			}
			got <- reply{node, as}
		})
	}
	timer := time.NewTimer(d.settings().Place.AskTimeout)
	defer timer.Stop()
	for len(remote) > 0 {
		select {
		case r := <-got:
			for _, a := range r.answers {
				answers = append(answers, heard{Answer: a, since: since})
			}
			delete(remote, r.node)
			continue
		case <-timer.C:
		case <-ctx.Done():
		}
		break
	}
	d.metrics.ask(d.cfg.Now().Sub(began))
	return answers, slices.Collect(maps.Keys(remote))
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

// answerAsks is the owner's side: each answer counts the places kept by the ones
// before it towards the limit.
func (d *Door) answerAsks(from peer.ID, b askBatch) (answerBatch, error) {
	if len(b.Questions) > maxQuestions {
		return answerBatch{}, fmt.Errorf("%d questions in one call", len(b.Questions))
	}
	var out answerBatch
	for _, q := range b.Questions {
		a, err := d.answerAsk(from, q)
		if err != nil {
			return answerBatch{}, err
		}
		out.Answers = append(out.Answers, a)
	}
	return out, nil
}

func (d *Door) answerAsk(from peer.ID, q askRequest) (askAnswer, error) {
	if len(q.Engines) == 0 {
		return askAnswer{}, nil // only to open a connection
	}
	id, err := ParseSessionID(q.Session)
	if err != nil {
		return askAnswer{}, err
	}
	if len(q.Engines) > maxAsked {
		return askAnswer{}, fmt.Errorf("%d engines in one question", len(q.Engines))
	}
	var out askAnswer
	if q.Release {
		for _, name := range q.Engines {
			d.owner.release(id, name)
		}
		return out, nil
	}
	for _, name := range q.Engines {
		a := d.owner.offer(id, name, d.ownLoad(name), asking{from, q.Since})
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

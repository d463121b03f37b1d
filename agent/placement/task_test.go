package placement

import (
	"errors"
	"strings"
	"testing"

	"github.com/ushercluster/usher/agent/peer"
)

func worker(id string) Worker {
	return Worker{
		ID: peer.ID(id), Class: peer.ClassServer, State: peer.StateActive, Status: peer.StatusAlive,
		Tags: []string{"all"},
		Load: peer.Load{Engines: []peer.EngineLoad{{Name: "e1", Health: peer.Healthy}, {Name: "e2", Health: peer.Healthy, Documents: []string{"a", "sales"}}}},
	}
}

func TestRunOn(t *testing.T) {
	cases := []struct {
		name   string
		need   Need
		change func(ws []Worker) // of nodes a, b, c
		want   string            // node/engine, or part of the error
	}{
		{"lowest ID of equals", Need{}, func([]Worker) {}, "a/e1"},
		{"fewest running", Need{}, func(ws []Worker) { ws[0].Running, ws[1].Running = 1, 1 }, "c/e1"},
		{"then lowest load", Need{}, func(ws []Worker) { ws[0].Load.CPUPermille, ws[2].Load.CPUPermille = 2, 1 }, "b/e1"},
		{"running before load", Need{}, func(ws []Worker) { ws[0].Load.CPUPermille, ws[1].Running, ws[2].Running = 999, 1, 1 }, "a/e1"},
		{"engine by name", Need{Engine: "e2"}, func([]Worker) {}, "a/e2"},
		{"engine that holds the document", Need{Document: "sales"}, func([]Worker) {}, "a/e2"},
		{"unhealthy engine passed over", Need{}, func(ws []Worker) { ws[0].Load.Engines[0].Health = peer.Unhealthy }, "a/e2"},
		{"node without that engine", Need{Engine: "e1"}, func(ws []Worker) { ws[0].Load.Engines = ws[0].Load.Engines[1:] }, "b/e1"},
		{"dead engine", Need{Engine: "e1"}, func(ws []Worker) { ws[0].Load.Engines[0].Health = peer.Dead }, "b/e1"},
		{"draining", Need{}, func(ws []Worker) { ws[0].State = peer.StateDraining }, "b/e1"},
		{"suspect", Need{}, func(ws []Worker) { ws[0].Status = peer.StatusSuspect }, "b/e1"},
		{"edge", Need{}, func(ws []Worker) { ws[0].Class = peer.ClassEdge }, "b/e1"},
		{"tag", Need{Tag: "gpu"}, func(ws []Worker) { ws[2].Tags = []string{"gpu"} }, "c/e1"},
		{"tried", Need{Exclude: []peer.ID{"a", "b"}}, func([]Worker) {}, "c/e1"},
		{"none: the nearest reason", Need{Engine: "e3"}, func(ws []Worker) { ws[0].State = peer.StateDraining }, `b: has no engine "e3"`},
		{"none: all draining", Need{}, func(ws []Worker) {
			for i := range ws {
				ws[i].State = peer.StateDraining
			}
		}, "a: is draining"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ws := []Worker{worker("a"), worker("b"), worker("c")}
			c.change(ws)
			got, err := RunOn(c.need, ws)
			if err != nil {
				if !errors.Is(err, ErrNoWorker) || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error %q, want %q", err, c.want)
				}
				return
			}
			if s := string(got.Node) + "/" + got.Engine; s != c.want {
				t.Errorf("runs on %s, want %s", s, c.want)
			}
		})
	}
	if _, err := RunOn(Need{}, nil); !errors.Is(err, ErrNoWorker) {
		t.Errorf("no nodes: %v", err)
	}
}

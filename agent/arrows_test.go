package agent_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/ushercluster/usher/"

// layers is who may import whom: a package imports packages of lower layers only,
// with the exceptions below. Siblings never import each other.
var layers = map[string]int{
	"transport": 0, "transport/memnet": 0, "fsm": 0, "agent/peer": 0, "agent/logs": 0,
	"agent/http1": 0, "agent/proxyproto": 0, "agent/backup": 0, "agent/scrub": 0, "agent/durable": 0,
	"agent/doctor": 1, "agent/doctor/probe": 1,
	"agent/placement": 1, "agent/membership": 1, "agent/consensus": 1, "agent/identity": 1,
	"agent/config": 1, "agent/engine": 1, "agent/engine/builtin": 1, "agent/door/upstream": 1, "agent/door/tunnel": 1, "agent/door/serve": 1, "agent/certs": 1, "agent/consensus/pulse": 1,
	"agent/door": 2, "agent/scheduler": 2, "agent/admin": 2, "agent/console": 2,
	"agent":     3,
	"cmd/usher": 4, "agent/clustertest": 4, "agent/clustertest/sim": 4,
}

// within are arrows inside a layer: the vocabulary of layer 0, and sub-packages.
var within = map[string][]string{
	"transport":            {"agent/peer", "agent/logs"},
	"transport/memnet":     {"transport"},
	"fsm":                  {"agent/peer"},
	"agent/engine/builtin": {"agent/engine"},
	"agent/consensus":      {"agent/consensus/pulse"},
	"agent/doctor/probe":   {"agent/doctor"},
}

// confined are libraries that one package alone may import.
var confined = map[string][]string{
	"github.com/hashicorp/memberlist":     {"agent/membership"},
	"github.com/hashicorp/raft":           {"agent/consensus", "fsm"},
	"github.com/hashicorp/raft-boltdb/v2": {"agent/consensus"},
	"github.com/hashicorp/raft-wal":       {"agent/consensus"},
	"github.com/urfave/cli/v2":            {"cmd/usher"},
}

func TestImportArrows(t *testing.T) {
	seen := 0
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		layer, ok := layers[name]
		if !ok {
			if !strings.HasPrefix(name, "scripts/") {
				t.Errorf("%s has no layer: give it one here and in docs/architecture.md", name)
			}
			continue
		}
		seen++
		for _, imp := range p.Imports {
			if users, ok := confined[imp]; ok && !slices.Contains(users, name) {
				t.Errorf("%s imports %s, which belongs to %v alone", name, imp, users)
			}
			to, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			if layers[to] >= layer && !slices.Contains(within[name], to) {
				t.Errorf("%s (layer %d) imports %s (layer %d): arrows point down", name, layer, to, layers[to])
			}
			if to == "transport/memnet" && name != "agent/clustertest" {
				t.Errorf("%s imports %s, which is for tests", name, to)
			}
		}
	}
	if seen < 15 {
		t.Fatalf("only %d packages were seen", seen)
	}
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

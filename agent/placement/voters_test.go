package placement

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// The script testdata/voters.script is a list of commands, one a line, against
// one cluster; after each come the voters wanted and the steps that lead there,
// which testdata/voters.txt records.
//
//	new            an empty cluster
//	add ID...      live servers, non-voters, one after the other
//	die ID...      servers stop
//	live ID...     they come back
//	remove ID...   they are taken out of the cluster, as by the operator
//	lead ID        that one leads
//	behind ID...   these do not catch up until they are named by "caught"
//	caught ID...
func TestVoterScript(t *testing.T) {
	script, err := os.ReadFile("testdata/voters.script")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	v := &voterWorld{behind: map[peer.ID]bool{}}
	lines := bufio.NewScanner(bytes.NewReader(script))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			fmt.Fprintln(&out, line)
			continue
		}
		v.do(t, strings.Fields(line))
		fmt.Fprintf(&out, "%s\n    want %v%s\n", line, Voters(v.servers), v.settle(t))
	}
	golden(t, "voters.txt", out.Bytes())
}

type voterWorld struct {
	servers []Server
	behind  map[peer.ID]bool
	clock   time.Time
}

func (v *voterWorld) do(t *testing.T, f []string) {
	if f[0] == "new" {
		*v = voterWorld{behind: map[peer.ID]bool{}}
		return
	}
	for _, id := range f[1:] {
		v.clock = v.clock.Add(time.Second)
		i := slices.IndexFunc(v.servers, func(s Server) bool { return s.ID == peer.ID(id) })
		switch f[0] {
		case "add":
			v.servers = append(v.servers, Server{ID: peer.ID(id), Alive: true, Since: v.clock})
		case "die", "live":
			v.servers[i].Alive, v.servers[i].Since, v.servers[i].Leader = f[0] == "live", v.clock, false
		case "remove":
			v.servers = slices.Delete(v.servers, i, i+1)
		case "lead":
			for j := range v.servers {
				v.servers[j].Leader = j == i
			}
		case "behind":
			v.behind[peer.ID(id)] = true
		case "caught":
			delete(v.behind, peer.ID(id))
		default:
			t.Fatalf("unknown command %q", f[0])
		}
	}
}

func (v *voterWorld) voters() []peer.ID {
	var ids []peer.ID
	for _, s := range v.servers {
		if s.Voter {
			ids = append(ids, s.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// settle carries out steps until there is none, choosing anew after each.
func (v *voterWorld) settle(t *testing.T) string {
	var steps strings.Builder
	for n := 0; ; n++ {
		c, ok := Step(v.voters(), Voters(v.servers), func(id peer.ID) bool { return !v.behind[id] })
		if !ok {
			return steps.String()
		}
		if n > 20 {
			t.Fatalf("no end of steps: %s", steps.String())
		}
		i := slices.IndexFunc(v.servers, func(s Server) bool { return s.ID == c.ID })
		v.servers[i].Voter = c.Promote
		verb := "demote"
		if c.Promote {
			verb = "promote"
		}
		fmt.Fprintf(&steps, ", %s %s", verb, c.ID)
	}
}

// Whatever happens: the steps come to an end, no live voter is replaced by another
// server, and no step costs the cluster a majority that it had.
func TestVoterInvariants(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		v := &voterWorld{behind: map[peer.ID]bool{}}
		for i := range 1 + rng.IntN(8) {
			v.servers = append(v.servers, Server{
				ID: peer.ID(fmt.Sprint(i)), Alive: rng.IntN(3) > 0, Voter: rng.IntN(2) == 0,
				Since: time.Time{}.Add(time.Duration(rng.IntN(5)) * time.Second),
			})
		}
		for n := 0; ; n++ {
			before := slices.Clone(v.servers)
			want := Voters(v.servers)
			for _, id := range want {
				newcomer := !slices.ContainsFunc(before, func(s Server) bool { return s.ID == id && s.Voter })
				dropped := slices.ContainsFunc(before, func(s Server) bool { return s.Voter && s.Alive && !slices.Contains(want, s.ID) })
				if newcomer && dropped {
					t.Fatalf("a live voter gives way to %s: %+v wants %v", id, before, want)
				}
			}
			c, ok := Step(v.voters(), want, func(peer.ID) bool { return true })
			if !ok {
				break
			}
			if n > 20 {
				t.Fatalf("no end of steps from %+v", before)
			}
			i := slices.IndexFunc(v.servers, func(s Server) bool { return s.ID == c.ID })
			v.servers[i].Voter = c.Promote
			if majority(before) && !majority(v.servers) {
				t.Fatalf("%+v takes the majority away from %+v", c, before)
			}
		}
	}
}

func majority(servers []Server) bool {
	voters, live := 0, 0
	for _, s := range servers {
		if s.Voter {
			voters++
			if s.Alive {
				live++
			}
		}
	}
	return 2*live > voters
}

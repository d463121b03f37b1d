package main

import (
	"errors"
	"slices"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"--binary", "usher", "--caddy", "/x/caddy", "--work", "linear, forwarded", "--peers", "caddy,usher", "--time", "1s"})
	if err != nil {
		t.Fatal(err)
	}
	if o.usher != "usher" || o.programs[caddyName] != "/x/caddy" || o.programs[nginxName] != "" || o.time != time.Second || o.rounds != 5 || o.connections != 64 {
		t.Errorf("got %+v", o)
	}
	if got, want := namesOf(o.works), []string{getName, fewName, manyName, quietName, forwardName}; !slices.Equal(got, want) {
		t.Errorf("works %v, want %v: forwarded is compared with %s", got, want, getName)
	}
	if o.peers[0].name != caddyName || o.peers[1].name != usherName || len(o.peers) != 2 {
		t.Errorf("peers %+v", o.peers)
	}
}

func TestParseRefused(t *testing.T) {
	for name, args := range map[string][]string{
		"no binary":        {"--peers", "usher"},
		"no such flag":     {"--binary", "usher", "--haste"},
		"no such work":     {"--binary", "usher", "--work", "get-2k"},
		"no such proxy":    {"--binary", "usher", "--peers", "apache"},
		"a proxy twice":    {"--binary", "usher", "--peers", "usher,usher"},
		"no proxy":         {"--binary", "usher", "--peers", ","},
		"no rounds":        {"--binary", "usher", "--rounds", "0"},
		"too short":        {"--binary", "usher", "--time", "10ms"},
		"too few sockets":  {"--binary", "usher", "--sockets", "10"},
		"words behind all": {"--binary", "usher", "get-1k"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(args); !errors.As(err, new(usageError)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestInTurn(t *testing.T) {
	all := peers[:3]
	if got := inTurn(all, 0); got[0].name != usherName || got[2].name != nginxName {
		t.Errorf("first round: %v", got)
	}
	if got := inTurn(all, 1); got[0].name != nginxName || got[2].name != usherName || all[0].name != usherName {
		t.Errorf("second round: %v", got)
	}
}

func TestStagesOf(t *testing.T) {
	var got [][]string
	seen := 0
	for _, one := range stagesOf(works[:]) {
		got = append(got, namesOf(one))
		seen += len(one)
		for _, w := range one {
			if w.memory() && len(one) > 1 {
				t.Errorf("%s meets a proxy that does more", w.name)
			}
		}
	}
	if seen != len(works) || got[0][0] != getName {
		t.Errorf("got %v", got)
	}
}

func namesOf(all []work) []string {
	var out []string
	for _, w := range all {
		out = append(out, w.name)
	}
	return out
}

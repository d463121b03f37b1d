package main

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/scripts/bench"
)

var update = flag.Bool("update", false, "write the golden files anew")

// of makes the sample of a window of a second.
func of(requests int, each time.Duration, load float64) sample {
	cpu := time.Duration(requests) * each
	return sample{Requests: float64(requests), Window: time.Second, CPU: cpu, LoadCore: load, ProxyCore: cpu.Seconds() + 0.01}
}

func someResults() *results {
	chosen, err := chooseWorks([]string{getName, "new-connection", "idle-websocket", "forwarded"})
	if err != nil {
		panic(err)
	}
	r := &results{works: chosen, proxies: []string{usherName, haproxyName, nginxName}}
	for _, us := range []int{16, 15, 19} {
		r.add(usherName, getName, of(50_000, time.Duration(us)*time.Microsecond, 0.85))
		r.add(haproxyName, getName, of(48_000, time.Duration(us+1)*time.Microsecond, 0.95))
		r.add(usherName, forwardName, of(20_000, time.Duration(2*us)*time.Microsecond, 0.5))
		r.add(usherName, "new-connection", of(9_000, time.Duration(4*us)*time.Microsecond, 0.7))
		r.add(haproxyName, "new-connection", of(11_000, time.Duration(3*us)*time.Microsecond, 0.9))
		r.add(usherName, "idle-websocket", sample{Requests: 8000, Bytes: float64(us) * 80_000})
		r.add(haproxyName, "idle-websocket", sample{Requests: 8000, Bytes: 8000 * 4600})
	}
	return r
}

func TestReport(t *testing.T) {
	r := someResults()
	for name, markdown := range map[string]bool{"report.txt": false, "report.md": true} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			o := bench.Output{Name: "door", Markdown: markdown}
			if err := o.Write(&out, []string{"one fact", "another one"}, append(r.tables(), bench.GoalTable(r.judged()))); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), out.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestJudged(t *testing.T) {
	r := someResults()
	want := map[string]string{
		"get-1k against haproxy":         "reached",
		"get-1k against nginx":           "skipped",
		"get-1k against caddy":           "skipped",
		"new-connection against haproxy": "MISSED", // 64 of 48
		"new-connection against nginx":   "skipped",
		"new-connection against caddy":   "skipped",
		"idle-websocket against haproxy": "reached",
		"idle-websocket against nginx":   "skipped",
		"idle-websocket against caddy":   "skipped",
		"forwarded against get-1k":       "reached",
	}
	got := map[string]string{}
	for _, g := range r.judged() {
		got[g.Name] = g.Verdict()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := bench.Judge(r.judged()); !errors.Is(err, bench.ErrMissed) {
		t.Errorf("judged as %v", err)
	}
}

// Every goal is about works and proxies that there are, and is not wider than what comes
// after it.
func TestWanted(t *testing.T) {
	names := map[string]bool{}
	for _, w := range works {
		if names[w.name] {
			t.Errorf("%s is there twice", w.name)
		}
		names[w.name] = true
	}
	for _, g := range wanted {
		if !names[g.work] || g.peer == "" && !names[g.of] || g.limit <= 0 || g.then >= g.limit {
			t.Errorf("%+v makes no sense", g)
		}
		if _, err := choosePeers([]string{g.peer}); g.peer != "" && err != nil {
			t.Errorf("%+v: %v", g, err)
		}
	}
}

func TestThroughput(t *testing.T) {
	for _, tc := range []struct {
		load float64
		want string
	}{{0.5, "1234"}, {0.9, "1234"}, {0.91, ">= 1234"}} {
		if got := throughput(1234.4, tc.load); got != tc.want {
			t.Errorf("with the load's core taken to %.2f: %s, want %s", tc.load, got, tc.want)
		}
	}
}

func TestDisturbed(t *testing.T) {
	r := &results{}
	r.add(usherName, getName, sample{Requests: 1, Window: time.Second, CPU: 900 * time.Millisecond, ProxyCore: 0.95})
	r.add(nginxName, getName, sample{Requests: 1, Window: time.Second, CPU: 500 * time.Millisecond, ProxyCore: 0.75})
	if got := r.disturbed(); got != 0.25 {
		t.Errorf("got %v, want 0.25", got)
	}
}

package doctor

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
)

var update = flag.Bool("update", false, "rewrite golden files")

func now() time.Time { return time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC) }

// well is a node on which nothing is wrong.
func well() Facts {
	return Facts{
		Now:      now(),
		Dir:      &Dir{Path: "/var/lib/usher", Mode: fs.ModeDir | 0o700, Owner: "usher"},
		Identity: &Identity{ID: "aaaaaaaaaaaaaaaa", Ends: now().Add(200 * 24 * time.Hour), CAEnds: now().Add(7000 * 24 * time.Hour)},
		Ports:    []Port{{Name: "cluster port", Addr: ":14747", Flag: "--bind"}, {Name: "door", Addr: ":8080", Flag: "--door"}},
		Address:  &Address{Addr: "10.0.0.1:14747", Here: true},
		Names:    []Name{{Key: "cluster.join", Host: "n2.example"}},
		Disk:     &Disk{Path: "/var/lib/usher", Free: 40 << 30, Total: 100 << 30},
		Sync:     &Sync{Path: "/var/lib/usher", Median: 1200 * time.Microsecond, Worst: 4 * time.Millisecond, Writes: 7},
		Files:    &Files{Limit: 262_144, Open: 120},
		Memory:   &Memory{Free: 4 << 30, Total: 8 << 30, Own: 60 << 20},
		Raft:     &Raft{State: "follower", Central: "n2", Quorum: true, Voter: true, Voters: []string{"n1", "n2", "n3"}, LastContact: 30 * time.Millisecond},
		Peers: []Peer{
			{Name: "n2", Addrs: []string{"10.0.0.2:14747"}, Asked: true, Timed: true, Offset: 3 * time.Millisecond, Within: time.Millisecond},
			{Name: "n3", Addrs: []string{"10.0.0.3:14747"}, Asked: true, Timed: true, Offset: -2 * time.Millisecond, Within: time.Millisecond},
		},
		Versions: []Version{{"n1", "v0.2.0", 1}, {"n2", "v0.2.0", 1}, {"n3", "v0.2.0", 1}},
		Engines:  []Engine{{Name: "shiny", URL: "http://127.0.0.1:3838", Health: peer.Healthy, Since: now().Add(-time.Hour)}},
	}
}

// outside is what can be found out without an agent.
func outside() Facts {
	f := well()
	f.Offline = "no agent answers"
	f.Raft, f.Versions, f.Engines, f.Files = nil, nil, nil, nil
	for i := range f.Ports {
		f.Ports[i].Err = errors.New("connection refused")
	}
	for i := range f.Peers {
		f.Peers[i] = Peer{Name: f.Peers[i].Name, Addrs: f.Peers[i].Addrs}
	}
	return f
}

// cases change one thing each of a node on which nothing is wrong.
func cases() []struct {
	name   string
	change func(*Facts)
} {
	type change = func(*Facts)
	errDial := errors.New("dial 10.0.0.3:14747: i/o timeout")
	return []struct {
		name   string
		change func(*Facts)
	}{
		{"well", func(*Facts) {}},
		{"nothing was looked at", func(f *Facts) { *f = Facts{Now: now()} }},
		{"outside", func(f *Facts) { *f = outside() }},
		{"outside, somebody has the door", func(f *Facts) { *f = outside(); f.Ports[1].Err = nil }},
		{"directory absent", func(f *Facts) { f.Dir = &Dir{Path: "/var/lib/usher", Err: fs.ErrNotExist} }},
		{"directory open", func(f *Facts) {
			f.Dir.Mode = fs.ModeDir | 0o755
			f.Dir.Loose = []File{{"/var/lib/usher", fs.ModeDir | 0o755}, {"/var/lib/usher/node.key", 0o644}}
		}},
		{"key open", func(f *Facts) { f.Dir.Loose = []File{{"/var/lib/usher/node.key", 0o640}} }},
		{"files of root", func(f *Facts) { f.Dir.Foreign = []string{"/var/lib/usher/raft/wal", "/var/lib/usher/LOCK"} }},
		{"identity lost", func(f *Facts) {
			f.Identity = &Identity{Err: errors.New("node.key: it is missing:\nrestore it")}
		}},
		{"certificate ends in 30 days", change(func(f *Facts) { f.Identity.Ends = now().Add(CertificateWarning) })},
		{"certificate ends in less", func(f *Facts) { f.Identity.Ends = now().Add(CertificateWarning - time.Second) }},
		{"certificate ends today", func(f *Facts) { f.Identity.Ends = now().Add(90 * time.Minute) }},
		{"certificate ended", func(f *Facts) { f.Identity.Ends = now() }},
		{"ca ends soon", func(f *Facts) { f.Identity.CAEnds = now().Add(24 * time.Hour) }},
		{"ca ended", func(f *Facts) { f.Identity.CAEnds = now().Add(-time.Hour) }},
		{"door deaf", func(f *Facts) { f.Ports[1].Err = errors.New("connection refused") }},
		{"address elsewhere", func(f *Facts) { f.Address.Here = false }},
		{"no address", func(f *Facts) {
			f.Address = &Address{Err: errors.New("this machine has 2 addresses: choose one\n --advertise 10.0.0.1")}
		}},
		{"name unknown", func(f *Facts) { f.Names[0].Err = errors.New("no such host") }},
		{"no names", func(f *Facts) { f.Names = []Name{} }},
		{"disk 10 percent", func(f *Facts) { f.Disk.Free = 10 << 30 }},
		{"disk below 10 percent", func(f *Facts) { f.Disk.Free = 10<<30 - 1<<28 }},
		{"small disk below 1 GiB", func(f *Facts) { f.Disk.Free, f.Disk.Total = 1<<30-32<<20, 4<<30 }},
		{"disk below 256 MiB", func(f *Facts) { f.Disk.Free = 250 << 20 }},
		{"disk silent", func(f *Facts) { f.Disk.Err = errors.New("the file system does not answer") }},
		{"disk 20 ms", func(f *Facts) { f.Sync.Median = SyncWarning }},
		{"disk slow", func(f *Facts) { f.Sync.Median = SyncWarning + time.Millisecond }},
		{"disk very slow", func(f *Facts) { f.Sync.Median, f.Sync.Worst = SyncFailed+time.Millisecond, time.Second }},
		{"disk read only", func(f *Facts) { f.Sync = &Sync{Path: "/var/lib/usher", Err: errors.New("read-only file system")} }},
		{"descriptors 65536", func(f *Facts) { f.Files.Limit = FilesWarning }},
		{"descriptors few", func(f *Facts) { f.Files.Limit = FilesWarning - 1 }},
		{"descriptors used up", func(f *Facts) { f.Files.Open = 250_000 }},
		{"descriptors of the unit", func(f *Facts) { f.Files = &Files{Limit: 1024, Open: -1} }},
		{"memory short", func(f *Facts) { f.Memory.Free = 200 << 20 }},
		{"memory gone", func(f *Facts) { f.Memory.Free = 60 << 20 }},
		{"peer away", func(f *Facts) {
			f.Peers[1] = Peer{Name: "n3", Addrs: []string{"10.0.0.3:14747"}, Err: errDial}
			f.Raft.Away = []string{"n3"}
		}},
		{"no way back", func(f *Facts) { f.Peers[1].BackErr = errors.New("dial 10.0.0.1:14747: i/o timeout") }},
		{"peer too old to be asked", func(f *Facts) {
			f.Peers[1].AskErr, f.Peers[1].Timed = errors.New("there is nothing at /v1/internal/reach"), false
		}},
		{"alone", func(f *Facts) { f.Peers, f.Raft.Voters = []Peer{}, []string{"n1"} }},
		{"clock 600 ms", func(f *Facts) { f.Peers[0].Offset = 600 * time.Millisecond }},
		{"clock 600 ms, perhaps", func(f *Facts) { f.Peers[0].Offset, f.Peers[0].Within = 600*time.Millisecond, 200*time.Millisecond }},
		{"clock of one 3 s", func(f *Facts) { f.Peers[0].Offset = -3 * time.Second }},
		{"own clock 40 s", func(f *Facts) { f.Peers[0].Offset, f.Peers[1].Offset = 40*time.Second, 41*time.Second }},
		{"no quorum", func(f *Facts) { f.Raft.Quorum, f.Raft.Away, f.Raft.Central = false, []string{"n2", "n3"}, "" }},
		{"no quorum in a moment", func(f *Facts) { f.Raft.Away = []string{"n2", "n3"} }},
		{"no central", func(f *Facts) { f.Raft.Central = "" }},
		{"central silent", func(f *Facts) { f.Raft.LastContact = 20 * time.Second }},
		{"central never heard", func(f *Facts) { f.Raft.LastContact = -1 }},
		{"two voters", func(f *Facts) { f.Raft.Voters = []string{"n1", "n2"} }},
		{"no vote", func(f *Facts) { f.Raft.Voter = false }},
		{"versions mixed", func(f *Facts) { f.Versions[2] = Version{"n3", "v0.1.0", 0} }},
		{"engine down", func(f *Facts) {
			f.Engines[0].Health, f.Engines[0].Err = peer.Dead, "dial tcp 127.0.0.1:3838: connect:\nconnection refused"
		}},
		{"engine not probed", func(f *Facts) { f.Engines[0] = Engine{Name: "shiny", URL: "http://127.0.0.1:3838"} }},
		{"no engines", func(f *Facts) { f.Engines = []Engine{} }},
	}
}

// TestJudgeGolden shows every case by the lines that differ from a node that is well.
func TestJudgeGolden(t *testing.T) {
	usual := map[Line]bool{}
	for _, l := range Judge(well()) {
		usual[l] = true
	}
	var b strings.Builder
	for _, c := range cases() {
		f := well()
		c.change(&f)
		fmt.Fprintf(&b, "# %s\n", c.name)
		seen := map[string]bool{}
		for _, l := range Judge(f) {
			if seen[l.Check] {
				t.Errorf("%s: two lines are called %q", c.name, l.Check)
			}
			seen[l.Check] = true
			if (l.Verdict == OK) != (l.Next == "") && l.Verdict != Skipped || l.Seen == "" || strings.ContainsAny(l.Seen+l.Next, "\n\t") {
				t.Errorf("%s: %+v", c.name, l)
			}
			if c.name == "well" || !usual[l] {
				write(&b, l)
			}
		}
	}
	b.WriteString("# configuration, agent, service\n")
	for _, l := range []Line{
		JudgeConfig(Config{}), JudgeConfig(Config{Path: "/etc/usher/usher.yaml"}),
		JudgeConfig(Config{Path: "/etc/usher/usher.yaml", Err: errors.New("line 3: door.listn: there is no such key")}),
		JudgeAgent("unix:/run/usher/usher.sock", "", 0), JudgeAgent("", "unix:/run/usher/usher.sock", 0), JudgeAgent("", "unix:/run/usher/usher.sock", 77),
		JudgeUnit(nil, false), JudgeUnit(&Unit{Err: errors.New("no bus")}, false), JudgeUnit(&Unit{Load: "not-found"}, true),
		JudgeUnit(unit(func(*Unit) {}), true),
		JudgeUnit(unit(func(u *Unit) { u.Active, u.Result = "failed", "exit-code" }), false),
		JudgeUnit(unit(func(u *Unit) { u.Active = "inactive" }), false),
		JudgeUnit(unit(func(u *Unit) { u.Active = "inactive" }), true),
		JudgeUnit(unit(func(u *Unit) { u.File = "disabled" }), true),
		JudgeUnit(unit(func(u *Unit) { u.Restarts = 3 }), true),
	} {
		write(&b, l)
	}
	golden(t, "judge.txt", b.String())
}

func unit(change func(*Unit)) *Unit {
	u := &Unit{Load: "loaded", Active: "active", Result: "success", File: "enabled", Limit: 262_144}
	change(u)
	return u
}

func write(b *strings.Builder, l Line) {
	fmt.Fprintf(b, "%-7s  %s: %s\n", string(l.Verdict), l.Check, l.Seen)
	if l.Next != "" {
		fmt.Fprintf(b, "         next: %s\n", l.Next)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// A node that is well has no line that is not.
func TestWellIsWell(t *testing.T) {
	lines := Judge(well())
	if n := Tally(lines); n[OK] != len(lines) || len(lines) < 15 {
		t.Errorf("%v of %d lines: %+v", n, len(lines), lines)
	}
}

// What was not looked at is never well.
func TestUnknownIsSkipped(t *testing.T) {
	lines := Judge(Facts{Now: now()})
	if n := Tally(lines); n[Skipped] != len(lines) {
		t.Errorf("%v of %d lines: %+v", n, len(lines), lines)
	}
}

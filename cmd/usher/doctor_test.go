package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/doctor"
)

// fakeExaminer is a machine that was looked at.
type fakeExaminer struct {
	facts   doctor.Facts
	unit    *doctor.Unit
	journal string
	looked  config.Config
}

func (e *fakeExaminer) Examine(_ context.Context, cfg config.Config) doctor.Facts {
	e.looked = cfg
	return e.facts
}
func (e *fakeExaminer) Unit(context.Context) *doctor.Unit { return e.unit }
func (e *fakeExaminer) Describe(context.Context, string) ([]byte, error) {
	return []byte(`{"os":"linux"}`), nil
}
func (e *fakeExaminer) Journal(context.Context) ([]byte, error) { return []byte(e.journal), nil }

// examined is an agent's answer with these verdicts.
func examined(verdicts ...doctor.Verdict) admin.Doctor {
	d := admin.Doctor{Node: ref(id1, "bi-1"), At: testNow()}
	names := []string{"identity", "disk space", "reach bi-2", "clock"}
	for i, v := range verdicts {
		l := doctor.Line{Check: names[i], Verdict: v, Seen: "as it is\x1b[2J"} // nothing of it may move the cursor
		if v == doctor.Warning || v == doctor.Failed {
			l.Next = "mend it"
		}
		d.Checks = append(d.Checks, l)
	}
	return d
}

// withAgent points a fixture at an API that is this machine's own.
func withAgent(t *testing.T, f *fixture, answer any) *fakeAPI {
	t.Helper()
	api := newFakeAPI(t)
	api.fill()
	api.on("GET /v1/health", admin.Health{Status: admin.HealthOK})
	api.on("POST /v1/doctor", answer)
	f.vars["USHER_API"] = strings.TrimPrefix(api.URL, "http://")
	return api
}

func TestDoctorGolden(t *testing.T) {
	unit := &doctor.Unit{Load: "loaded", Active: "active", File: "enabled", Limit: 1024}
	for _, tt := range []struct {
		name   string
		answer any
		code   int
		unit   *doctor.Unit
		change func(*fixture)
	}{
		{name: "well", answer: examined(doctor.OK, doctor.OK), unit: unit},
		{name: "warnings", answer: examined(doctor.OK, doctor.Warning, doctor.OK, doctor.Skipped)},
		{name: "failed", answer: examined(doctor.OK, doctor.Warning, doctor.Failed, doctor.Failed), code: exitFailed},
		{name: "denied", answer: refused(403, admin.CodeDenied, "this needs the role operator", ""), code: exitDenied},
		{name: "too-old", answer: refused(404, admin.CodeNotFound, "there is nothing at /v1/doctor", ""), code: exitFailed},
		{name: "bad-configuration", answer: examined(doctor.OK), code: exitFailed, change: func(f *fixture) { f.vars["USHER_LOG_LEVEL"] = "loud" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.examiner = &fakeExaminer{unit: tt.unit}
			api := withAgent(t, f, tt.answer)
			if tt.change != nil {
				tt.change(f)
			}
			var b strings.Builder
			for _, args := range [][]string{{"doctor"}, {"doctor", "--output", "json"}} {
				code, out, err := f.do(args...)
				if code != tt.code {
					t.Errorf("exit %d, want %d", code, tt.code)
				}
				b.WriteString(strings.ReplaceAll(transcript(args, code, out, err, api.requests()), api.URL, "http://API") + "\n")
			}
			golden(t, filepath.Join("doctor", tt.name+".txt"), b.String())
		})
	}
}

// Without an agent the command looks itself, at the directory of the configuration.
func TestDoctorWithoutAnAgent(t *testing.T) {
	f := newFixture(t)
	e := &fakeExaminer{
		unit: &doctor.Unit{Load: "loaded", Active: "failed", Result: "exit-code", File: "enabled", Limit: 1024},
		facts: doctor.Facts{
			Now: testNow(), Offline: "no agent answers", Dir: &doctor.Dir{Path: "/var/lib/usher", Mode: os.ModeDir | 0o700, Holder: 4711},
			Identity: &doctor.Identity{ID: id1, Ends: testNow().Add(-time.Hour), CAEnds: testNow().Add(10_000 * time.Hour)},
			Peers:    []doctor.Peer{{Name: "bi-2", Addrs: []string{"10.0.0.2:14747"}, Err: errors.New("connection refused")}},
		},
	}
	f.examiner = e
	file := filepath.Join(t.TempDir(), "usher.yaml")
	if err := os.WriteFile(file, []byte("data_dir: /var/lib/usher\napi:\n  listen: 127.0.0.1:1\nengines: [none]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.usual = file
	code, out, err := f.do("doctor")
	golden(t, filepath.Join("doctor", "alone.txt"), strings.ReplaceAll(transcript([]string{"doctor"}, code, out, err, ""), file, "/etc/usher/usher.yaml"))
	if e.looked.DataDir != "/var/lib/usher" || code != exitFailed {
		t.Errorf("looked at %s, exit %d", e.looked.DataDir, code)
	}
	code, out, _ = f.do("doctor", "--output", "json")
	var a doctorAnswer
	if e := json.Unmarshal([]byte(out), &a); e != nil || code != exitFailed || a.Node != nil || a.Failed != len(failedOf(a.Checks)) || a.Failed < 3 {
		t.Errorf("exit %d, %+v (%v)", code, a, e)
	}
}

func failedOf(all []doctor.Line) (out []doctor.Line) {
	for _, l := range all {
		if l.Verdict == doctor.Failed {
			out = append(out, l)
		}
	}
	return out
}

// Of another machine only its agent tells.
func TestDoctorOfAnotherMachine(t *testing.T) {
	f := newFixture(t)
	f.examiner = &fakeExaminer{unit: &doctor.Unit{Load: "loaded", Active: "failed"}}
	api := withAgent(t, f, examined(doctor.OK))
	code, out, err := f.do("doctor", "--address", api.URL)
	if code != 0 || strings.Contains(out, "configuration") || strings.Contains(out, "service") {
		t.Errorf("exit %d: %s%s", code, out, err)
	}
	api.Close()
	if code, _, err := f.do("doctor", "--address", api.URL); code != exitUnreachable {
		t.Errorf("exit %d: %s", code, err)
	}
}

// A process that accepts connections and answers nothing counts as no agent, soon.
func TestDoctorOfAnAgentThatHangs(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f := newFixture(t)
	f.examiner = &fakeExaminer{facts: doctor.Facts{Now: testNow(), Offline: "no agent answers", Dir: &doctor.Dir{Path: "/x", Mode: os.ModeDir | 0o700, Holder: 77}}}
	f.vars["USHER_API"] = ln.Addr().String()
	began := time.Now()
	code, out, _ := f.do("doctor")
	if code != exitFailed || !strings.Contains(out, "process 77 holds the data directory, and nobody answers at http://"+ln.Addr().String()) {
		t.Errorf("exit %d: %s", code, out)
	}
	if took := time.Since(began); took > doctorBound {
		t.Errorf("it took %v", took)
	}
}

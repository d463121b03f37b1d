package main

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/backup"
	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// saved is a snapshot as an agent sends it, and the key that opens it.
func saved(t *testing.T) ([]byte, identity.RecoveryKey) {
	t.Helper()
	key, err := identity.NewRecoveryKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := fsm.New(fsm.Options{})
	for i, cmd := range []fsm.Command{
		&fsm.InitCluster{
			UUID: "7f3c", Name: "prod", Node: fsm.Node{ID: id1, Name: "bi-1", Class: peer.ClassServer, Weight: 100},
			JoinToken: fsm.JoinToken{ID: "jjjjjjjj"}, Token: fsm.Token{ID: "tttttttt"}, DataKey: fsm.DataKey{ID: 1}, RecoveryPublic: key.Public(),
		},
		&fsm.SetSetting{Key: "log.level", Value: "debug"},
		&fsm.SetSetting{Key: "session.scope", Value: "document"},
		&fsm.PutTask{Task: fsm.Task{Name: "nightly", Document: "sales", Cron: "0 4 * * *", Attempts: 3, Timeout: time.Hour, CatchUp: time.Hour}},
		&fsm.PutTask{Task: fsm.Task{Name: "weekly", Document: "sales", Every: 168 * time.Hour, Attempts: 1, Timeout: time.Minute, CatchUp: time.Hour}},
		&fsm.PauseTask{Name: "weekly", Paused: true, Reason: "year end"},
	} {
		b, err := fsm.Encode(cmd)
		if err != nil {
			t.Fatal(err)
		}
		entry, err := fsm.EncodeEntry(fsm.Entry{Now: fsm.StampOf(ago(time.Hour)), Items: []fsm.Item{{ID: fsm.CommandID{byte(i + 1)}, Known: uint64(i), Command: b}}})
		if err != nil {
			t.Fatal(err)
		}
		if res, err := f.Apply(entry); err != nil || res[0].Err() != nil {
			t.Fatal(err, res)
		}
	}
	state, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	h := backup.Header{
		ClusterID: "7f3c", ClusterName: "prod", Revision: state.Revision(), AsOf: state.View().At(), Taken: ago(time.Minute), Node: "bi-1",
		Version: "v0.1.0", FeatureLevel: 1, Rows: state.View().Rows(),
	}
	var b bytes.Buffer
	w, err := backup.NewWriter(&b, h, rand.Reader, func(k []byte) ([]byte, error) { return identity.SealTo(key.Public(), "snapshot", k) })
	if err != nil {
		t.Fatal(err)
	}
	ring := `{"keys":{}}`
	if _, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(ring))), ring...)); err != nil {
		t.Fatal(err)
	}
	if _, err := state.WriteTo(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), key
}

// TestSnapshotGolden goes through the life of a snapshot, in order.
func TestSnapshotGolden(t *testing.T) {
	whole, key := saved(t)
	other, err := identity.NewRecoveryKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, keyFile, otherFile := filepath.Join(dir, "prod.snapshot"), filepath.Join(dir, "key"), filepath.Join(dir, "other")
	damaged, data := filepath.Join(dir, "damaged"), filepath.Join(dir, "data")
	for path, text := range map[string]string{
		keyFile: key.Reveal(), otherFile: other.Reveal(), damaged: string(whole[:len(whole)-1]), filepath.Join(data, ".keep"): "",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	api := newFakeAPI(t)
	f := newFixture(t)
	f.fixtureInit(data)
	api.fill()
	api.on("GET /v1/snapshot", whole)
	api.on("PUT /v1/settings/session.scope", settings().Items[0])
	api.on("DELETE /v1/settings/door.show_node", settings().Items[0])
	api.on("PUT /v1/tasks/weekly", admin.Task{Name: "weekly"})
	api.on("POST /v1/tasks/weekly/pause", admin.Task{Name: "weekly"})
	api.on("DELETE /v1/tasks/quick", struct{}{})
	var text strings.Builder
	for _, args := range [][]string{
		{"snapshot", "save", file},
		{"snapshot", "save", file},
		{"snapshot", "save", file, "--force", "--stale", "--output", "json"},
		{"snapshot", "inspect", file},
		{"snapshot", "inspect", file, "--recovery-key-file", keyFile, "--output", "json"},
		{"snapshot", "inspect", file, "--recovery-key-file", otherFile},
		{"snapshot", "inspect", damaged},
		{"snapshot", "inspect", keyFile},
		{"snapshot", "restore", file, "--data-dir", data, "--advertise", "10.0.0.1"},
		{"snapshot", "restore", file, "--recovery-key-file", keyFile, "--data-dir", data, "--advertise", "10.0.0.1", "--cluster-name", "again"},
		{"snapshot", "restore", file, "--over", "--recovery-key-file", keyFile},
		{"snapshot", "restore", file, "--over", "--recovery-key-file", keyFile, "--yes"},
		{"snapshot", "restore", file, "--over", "--recovery-key-file", keyFile, "--yes", "--output", "json"},
	} {
		text.WriteString(against(t, f, api, args...) + "\n")
	}
	api.on("GET /v1/status", admin.Status{Cluster: admin.ClusterRef{ID: "other", Name: "test"}})
	for _, args := range [][]string{
		{"snapshot", "restore", file, "--over", "--recovery-key-file", keyFile, "--yes"},
		{"snapshot", "restore", file, "--over", "--foreign", "--recovery-key-file", keyFile, "--yes"},
		{"snapshot", "restore", file, "--over", "--cluster-name", "x", "--recovery-key-file", keyFile},
		{"snapshot", "save", "-"},
		{"snapshot", "save", dir},
		{"snapshot", "save", filepath.Join(dir, "absent", "x")},
	} {
		text.WriteString(against(t, f, api, args...) + "\n")
	}
	golden(t, "snapshot.txt", strings.ReplaceAll(text.String(), dir, "/dir"))
	if info, err := os.Stat(file); err != nil || !f.facts.Windows && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 5 {
		t.Errorf("something half-written is left: %v, %v", entries, err)
	}
	api.on("GET /v1/snapshot", whole[:len(whole)/2])
	if code, _, stderr := f.do("snapshot", "save", filepath.Join(dir, "cut")); code != exitFailed || !strings.Contains(stderr, "not whole") {
		t.Errorf("cut off on its way: exit %d, %s", code, stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "cut")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what is not whole has a name: %v", err)
	}
}

func TestRecoverGolden(t *testing.T) {
	var text strings.Builder
	found := agent.Recovery{
		Cluster: "prod", Node: "bi-3", Revision: 812, AsOf: ago(time.Hour), LastIndex: 900, LastTerm: 7, Voters: 3, Backup: "/data/before-recovery-20300102T030405",
		Others: []agent.OtherServer{
			{ID: id1, Name: "bi-1", Addr: "10.0.0.1:14747", Voter: true, Answers: true, Revision: 811, LastIndex: 899, LastTerm: 7},
			{ID: id2, Name: "bi-2", Addr: "10.0.0.2:14747", Voter: true, Error: "connection refused"},
		},
	}
	for _, tt := range []struct {
		args []string
		set  func(*fakeMachine)
	}{
		{[]string{"recover"}, func(*fakeMachine) {}},
		{[]string{"recover", "--yes"}, func(*fakeMachine) {}},
		{[]string{"recover", "--yes", "--ignore", "bi-1", "--output", "json"}, func(m *fakeMachine) { m.recovery.Others = m.recovery.Others[1:] }},
		{[]string{"recover", "--yes"}, func(m *fakeMachine) { m.recovery.Finished = true }},
		{[]string{"recover", "--yes"}, func(m *fakeMachine) { m.err = agent.ErrQuorumAnswers }},
		{[]string{"recover", "--yes"}, func(m *fakeMachine) { m.err = agent.ErrNewerSurvivor }},
		{[]string{"recover", "--yes"}, func(m *fakeMachine) { m.err = agent.ErrDisowned }},
		{[]string{"recover", "--yes", "--data-dir", "/data"}, func(m *fakeMachine) { m.err, m.recovery.Recovery = identity.ErrNoIdentity, agent.Recovery{} }},
		{[]string{"recover", "--yes", "--data-dir", "/data"}, func(m *fakeMachine) { m.err, m.recovery.Recovery = fs.ErrNotExist, agent.Recovery{} }},
		{[]string{"recover", "--yes"}, func(m *fakeMachine) { m.err = &identity.LockedError{Path: "/data", PID: 7} }},
		{[]string{"recover", "--yes"}, func(m *fakeMachine) { m.err = agent.ErrDamaged }},
		{[]string{"recover", "--yes"}, func(m *fakeMachine) { m.recovery.Voters, m.recovery.Others = 1, nil }},
		{[]string{"recover", "bi-1"}, func(*fakeMachine) {}},
	} {
		f := newFixture(t)
		f.machine.recovery.Recovery = found
		tt.set(f.machine)
		code, out, err := f.do(tt.args...)
		text.WriteString(transcript(tt.args, code, out, err, "") + "\n")
		if i := f.machine.recovery.Ignored; strings.Contains(strings.Join(tt.args, " "), "--ignore") != (len(i) == 1) {
			t.Errorf("%v: ignored %v", tt.args, i)
		}
	}
	golden(t, "recover.txt", text.String())
}

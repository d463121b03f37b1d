package clustertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/identity"
)

// TestAllDisksLost saves a snapshot through any node, loses every machine, and restores it
// on others.
func TestAllDisksLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		l := c.WaitCentral()
		if _, err := l.API().SetSetting(t.Context(), "session.scope", "document"); err != nil {
			t.Fatal(err)
		}
		if _, err := l.API().PutTask(t.Context(), "nightly", admin.TaskSpec{Document: "sales", Cron: "0 3 * * *"}); err != nil {
			t.Fatal(err)
		}
		var file bytes.Buffer
		follower := c.Node(1)
		if follower == l {
			follower = c.Node(2)
		}
		if err := follower.API().Snapshot(t.Context(), &file); err != nil {
			t.Fatal(err)
		}
		revision := follower.Agent.View().Revision()
		for _, n := range c.Up() {
			n.Crash()
		}
		if bytes.Contains(file.Bytes(), []byte("session.scope")) {
			t.Error("the state stands in the clear")
		}

		wrong, err := identity.NewRecoveryKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		m := c.Add()
		m.Config.API.Listen = m.Host.IP() + ":14748" // over its socket a token is not looked at
		restore := func(key identity.RecoveryKey, b []byte) (agent.InitResult, error) {
			return agent.Restore(t.Context(), m.Config, agent.RestoreOptions{From: bytes.NewReader(b), Key: key, By: "root", Now: time.Now})
		}
		if _, err := restore(wrong, file.Bytes()); !errors.Is(err, agent.ErrRecoveryKey) {
			t.Fatalf("with another key: %v", err)
		}
		if _, err := restore(c.Recovery, file.Bytes()[:file.Len()-1]); err == nil || strings.Count(err.Error(), "damaged") != 1 {
			t.Fatalf("a file that is cut off: %v", err)
		}
		r, err := restore(c.Recovery, file.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := restore(c.Recovery, file.Bytes()); !errors.Is(err, identity.ErrHasIdentity) {
			t.Fatalf("a second time: %v", err)
		}
		c.join = r.JoinToken
		m.Start()
		m.WaitReady()
		for range 2 {
			n := c.Add()
			n.Config.Cluster.Join = []string{m.Host.IP() + ":14747"}
			if _, err := agent.Join(t.Context(), n.Config, agent.JoinOptions{Token: c.join, Network: n.Host}); err != nil {
				t.Fatal(err)
			}
			n.Start()
			n.WaitReady()
		}
		c.WaitVoters(3)
		v := m.Agent.View()
		if v.Text("session.scope") != "document" || v.Task("nightly") == nil || v.Revision() <= revision {
			t.Errorf("scope %q, task %v, revision %d after %d", v.Text("session.scope"), v.Task("nightly"), v.Revision(), revision)
		}
		if len(v.Nodes()) != 3 || v.Cluster().UUID == "" {
			t.Errorf("%d nodes", len(v.Nodes()))
		}
		// The first administrator's token is good still.
		if who, err := tokenClient(c, m, c.Token).Whoami(t.Context()); err != nil {
			t.Errorf("the old token: %v, %+v", err, who)
		}
		if who, err := tokenClient(c, m, c.Token+"x").Whoami(t.Context()); err == nil {
			t.Errorf("no token of ours: %+v", who)
		}
		// A machine of the old cluster finds no way in, and does no harm.
		old := c.Node(1)
		old.Config.Cluster.Join = []string{m.Host.IP() + ":14747"}
		old.Start()
		time.Sleep(20 * time.Second)
		if got := len(m.Agent.View().Nodes()); got != 3 || !m.Agent.Status().Quorum() {
			t.Errorf("%d nodes once the old machine is back", got)
		}
		old.Crash()
	})
}

// TestTwoOfThreeDisksLost recovers the survivor.
func TestTwoOfThreeDisksLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		l := c.WaitCentral()
		if _, err := l.API().SetSetting(t.Context(), "session.scope", "document"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		survivor := c.Node(3)
		recover := func(confirm func(agent.Recovery) error) (agent.Recovery, error) {
			return agent.Recover(t.Context(), survivor.Config, agent.RecoverOptions{Network: survivor.Host, By: "root", Confirm: confirm})
		}
		yes := func(agent.Recovery) error { return nil }
		var held *identity.LockedError
		if _, err := recover(yes); !errors.As(err, &held) {
			t.Fatalf("while its agent runs: %v", err)
		}
		survivor.Crash()
		r, err := recover(yes)
		if !errors.Is(err, agent.ErrQuorumAnswers) || !r.Others[0].Answers || r.Others[0].Revision == 0 || r.Others[0].LastIndex == 0 || r.Others[0].LastTerm == 0 {
			t.Fatalf("while the two others are there: %v, %+v", err, r)
		}
		c.Node(1).Crash()
		c.Node(2).Crash()
		no := errors.New("no")
		if _, err := recover(func(agent.Recovery) error { return no }); !errors.Is(err, no) {
			t.Fatalf("refused: %v", err)
		}
		if _, err := os.Stat(filepath.Join(survivor.Config.DataDir, "raft.recovered")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("something was written before it was confirmed: %v", err)
		}
		if r, err = recover(yes); err != nil {
			t.Fatal(err)
		}
		if len(r.Others) != 2 || r.Others[0].Answers || r.Voters != 3 || r.Revision == 0 || r.LastIndex == 0 {
			t.Errorf("found: %+v", r)
		}
		for _, name := range []string{"raft", "state.cache"} {
			if _, err := os.Stat(filepath.Join(r.Backup, name)); err != nil {
				t.Errorf("the backup: %v", err)
			}
		}
		survivor.Start()
		survivor.WaitReady()
		c.Eventually(5*time.Second, "a central node", func() bool { return survivor.Agent.Status().IsLeader })
		v := survivor.Agent.View()
		if v.Text("session.scope") != "document" || len(v.Nodes()) != 1 || len(v.RemovedNodes()) != 2 || v.Revision() <= r.Revision {
			t.Errorf("scope %q, %d nodes, %d removed, revision %d after %d", v.Text("session.scope"), len(v.Nodes()), len(v.RemovedNodes()), v.Revision(), r.Revision)
		}
		if _, err := survivor.API().SetSetting(t.Context(), "session.scope", "browser"); err != nil {
			t.Fatal(err)
		}
		// One that was thought lost comes back: it is removed, and ends.
		c.Node(1).Start()
		if err := c.Node(1).Ended(); err == nil || !strings.Contains(err.Error(), "removed") {
			t.Logf("the old machine: %v", err)
		}
		if got := survivor.Agent.View().Text("session.scope"); got != "browser" {
			t.Errorf("session.scope is %q", got)
		}
		token, err := survivor.API().CreateJoinToken(t.Context(), admin.JoinTokenSpec{})
		if err != nil {
			t.Fatal(err)
		}
		c.join = token.Token
		for range 2 {
			n := c.Add()
			n.Config.Cluster.Join = []string{survivor.Host.IP() + ":14747"}
			if _, err := agent.Join(t.Context(), n.Config, agent.JoinOptions{Token: c.join, Network: n.Host}); err != nil {
				t.Fatal(err)
			}
			n.Start()
			n.WaitReady()
		}
		c.WaitVoters(3)
	})
}

// TestRecoverOnASecondSurvivor finds that the cluster goes on elsewhere; and where the others
// are started all the same, both sides say that there are two.
func TestRecoverOnASecondSurvivor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		c.WaitCentral()
		recover := func(n *Node, ignore ...string) error {
			_, err := agent.Recover(t.Context(), n.Config, agent.RecoverOptions{
				Network: n.Host, By: "root", Ignore: ignore, Confirm: func(agent.Recovery) error { return nil },
			})
			return err
		}
		for i := 1; i <= 3; i++ {
			c.Node(i).Crash()
		}
		one := c.Node(3)
		if err := recover(one, "nobody"); err == nil || !strings.Contains(err.Error(), "nobody") {
			t.Errorf("a name that nobody has: %v", err)
		}
		if err := recover(one); err != nil {
			t.Fatal(err)
		}
		one.Start()
		one.WaitReady()
		if err := recover(c.Node(2)); !errors.Is(err, agent.ErrDisowned) {
			t.Errorf("on a second one: %v", err)
		}
		c.Node(1).Start()
		c.Node(2).Start()
		time.Sleep(time.Minute)
		for n, want := range map[*Node]string{c.Node(1): "there are two clusters", c.Node(2): "there are two clusters", one: "runs on"} {
			st, err := n.API().Status(t.Context(), admin.Stale())
			if err != nil || !strings.Contains(strings.Join(st.Warnings, "\n"), want) {
				t.Errorf("%s: %v, %q", n.Host.Name(), err, st.Warnings)
			}
		}
	})
}

// TestRecoveryCutShort lets the machine lose power between the last two steps.
func TestRecoveryCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 1)
		n := c.Node(1)
		n.Crash()
		dir := n.Config.DataDir
		if err := os.Rename(filepath.Join(dir, "raft"), filepath.Join(dir, "raft.recovered")); err != nil {
			t.Fatal(err)
		}
		if _, err := agent.New(n.Config, agent.Options{Network: n.Host}); err == nil || !strings.Contains(err.Error(), "usher recover") {
			t.Errorf("the agent: %v", err)
		}
		r, err := agent.Recover(t.Context(), n.Config, agent.RecoverOptions{Network: n.Host})
		if err != nil || !r.Finished {
			t.Fatalf("%+v, %v", r, err)
		}
		n.Start()
		n.WaitReady()
	})
}

// keepThree has snapshots saved every six minutes, and three of them kept.
func (n *Node) keepThree(t *testing.T) {
	t.Helper()
	for key, value := range map[string]string{"snapshot.interval": "6m", "snapshot.keep": "3"} {
		if _, err := n.API().SetSetting(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSnapshotsByTheClock looks at what a server saves by itself.
func TestSnapshotsByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 1)
		n := c.Node(1)
		n.keepThree(t)
		saved := func() []string { return n.saved(t) }
		left := filepath.Join(n.Config.DataDir, "snapshots", n.Agent.ID().Short()+"-19991231T235959Z.usher-snapshot.part")
		if err := os.MkdirAll(filepath.Dir(left), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(left, []byte("cut short"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		first := saved()
		if len(first) != 1 {
			t.Fatalf("after three minutes, what a crash left included: %v", first)
		}
		time.Sleep(30 * time.Minute)
		files := saved()
		if len(files) != 3 || files[0] == first[0] {
			t.Fatalf("after half an hour: %v", files)
		}
		f, err := os.Open(files[2])
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		s, err := agent.OpenSnapshot(f, c.Recovery)
		if err != nil {
			t.Fatal(err)
		}
		if s.Header.Unconfirmed || time.Since(s.Header.Taken) > 12*time.Minute || s.State.View().Text("snapshot.keep") != "3" {
			t.Errorf("the newest: %+v", s.Header)
		}
		if _, err := n.API().SetSetting(t.Context(), "snapshot.interval", "0s"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Minute)
		if again := saved(); len(again) != 3 || again[2] != files[2] {
			t.Errorf("switched off: %v", again)
		}
	})
}

// TestSnapshotsOfAWrongClock: files that a clock which was ahead has named do not push out new
// ones, and a directory that takes none shows in the status.
func TestSnapshotsOfAWrongClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 1)
		n := c.Node(1)
		n.keepThree(t)
		dir := filepath.Join(n.Config.DataDir, "snapshots")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for day := 1; day <= 3; day++ {
			name := n.Agent.ID().Short() + "-" + time.Now().AddDate(0, 0, day).UTC().Format("20060102T150405Z") + ".usher-snapshot"
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(20*time.Minute + 30*time.Second) // between two looks of the keeper
		synctest.Wait()
		files := n.saved(t)
		if len(files) != 3 {
			t.Fatalf("%v", files)
		}
		for _, path := range files {
			if info, err := os.Stat(path); err != nil || info.Size() == 0 {
				t.Errorf("%s is of the wrong clock, and stays", path)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		warned := func() bool {
			st, err := n.API().Status(t.Context())
			return err == nil && strings.Contains(strings.Join(st.Warnings, "\n"), "cannot save snapshots")
		}
		if !warned() {
			t.Error("the status says nothing of snapshots that cannot be saved")
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Minute)
		if warned() {
			t.Error("the status goes on about it")
		}
	})
}

// TestSnapshotWithoutQuorum is labelled, and refused unless it is asked for.
func TestSnapshotWithoutQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		c.Node(1).Crash()
		c.Node(2).Crash()
		n := c.Node(3)
		time.Sleep(5 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var b bytes.Buffer
		var p *admin.Problem
		if err := n.API().Snapshot(ctx, &b); !errors.As(err, &p) || p.Code != admin.CodeNoQuorum || b.Len() != 0 {
			t.Errorf("without a majority: %v, %d bytes", err, b.Len())
		}
		if err := n.API().Snapshot(ctx, &b, admin.Stale()); err != nil {
			t.Fatal(err)
		}
		s, err := agent.OpenSnapshot(&b, c.Recovery)
		if err != nil || !s.Header.Unconfirmed {
			t.Errorf("%v, %+v", err, s)
		}
	})
}

// saved are the snapshots that the node keeps of itself.
func (n *Node) saved(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(n.Config.DataDir, "snapshots", "*"))
	if err != nil {
		t.Error(err)
	}
	return files
}

func tokenClient(c *Cluster, n *Node, token string) *admin.Client {
	c.T.Helper()
	client, err := admin.NewClient(admin.ClientConfig{Address: "http://" + n.Config.API.Listen, Token: token, Dial: n.Host.DialContext})
	if err != nil {
		c.T.Fatal(err)
	}
	c.T.Cleanup(client.Close)
	return client
}

package clustertest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/fsm"
)

func problemCode(err error) string {
	var p *admin.Problem
	if errors.As(err, &p) {
		return string(p.Code)
	}
	return ""
}

func set(t *testing.T, n *Node, key, value string) {
	t.Helper()
	if _, err := n.API().SetSetting(t.Context(), key, value); err != nil {
		t.Fatalf("set %s on %s: %v", key, n.Name, err)
	}
}

func text(n *Node, key string) string { return n.Agent.View().Text(key) }

func TestThreeNodesElectWriteIsolateHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		c := New(t, 3)
		t.Logf("three voters after %v", time.Since(began))
		c.WaitSame()
		old := c.WaitCentral()
		for i, n := range c.Up() {
			set(t, n, "session.idle_timeout", []string{"10m", "11m", "12m"}[i])
		}
		c.WaitSame()
		c.Net.Isolate(old.Host)
		cut := time.Now()
		central := c.WaitCentral(old)
		t.Logf("a new central node after %v", time.Since(cut))
		set(t, central, "session.idle_timeout", "20m")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := old.API().SetSetting(ctx, "session.idle_timeout", "30m"); problemCode(err) != "no_quorum" {
			t.Fatalf("a write on the isolated node: %v, want no quorum", err)
		}
		time.Sleep(time.Minute)
		c.Net.HealAll()
		healed := time.Now()
		c.WaitSame()
		t.Logf("equal states %v after healing", time.Since(healed))
		for _, n := range c.Up() {
			if got := text(n, "session.idle_timeout"); got != "20m" {
				t.Fatalf("%s has %s", n.Name, got)
			}
		}
	})
}

// get asks a door once and returns the answer's status, the node whose engine
// answered and the cookies that it set.
func get(t *testing.T, client *http.Client, url string, cookies ...*http.Cookie) (status int, node string, set []*http.Cookie) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cookies {
		req.AddCookie(c)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("X-Usher-Node"), resp.Cookies()
}

// session opens a session at a door and returns its cookies.
func session(t *testing.T, c *Cluster, at *Node) (node string, cookies []*http.Cookie) {
	t.Helper()
	status, node, cookies := get(t, c.Browser(), at.Door()+"/doc/sales")
	if status != http.StatusOK || node == "" {
		t.Fatalf("a new session at %s: status %d from %q", at.Name, status, node)
	}
	return node, cookies
}

func TestSessionsStayAcrossDoors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		set(t, c.Node(1), "door.show_node", "true")
		c.WaitSame()
		time.Sleep(time.Second)
		counts := map[string]int{}
		for i := range 30 {
			node, cookies := session(t, c, c.Node(1+i%3))
			counts[node]++
			for _, door := range c.Up() {
				if status, got, _ := get(t, c.Browser(), door.Door()+"/doc/sales", cookies...); status != 200 || got != node {
					t.Fatalf("session of %s at the door of %s: status %d from %s", node, door.Name, status, got)
				}
			}
		}
		for node, n := range counts {
			if n < 8 || n > 12 {
				t.Errorf("%s has %d of 30 sessions", node, n)
			}
		}
	})
}

func TestOwnerCrashMovesItsSessionsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		set(t, c.Node(1), "door.show_node", "true")
		c.WaitSame()
		time.Sleep(time.Second)
		type user struct {
			node    string
			cookies []*http.Cookie
		}
		var users []user
		for i := range 12 {
			node, cookies := session(t, c, c.Node(1+i%3))
			users = append(users, user{node, cookies})
		}
		victim := c.Node(2)
		victim.Crash()
		for i, u := range users {
			began := time.Now()
			status, node, _ := get(t, c.Browser(), c.Node(1).Door()+"/doc/sales", u.cookies...)
			took := time.Since(began)
			switch {
			case status != 200 || took > 2*time.Second:
				t.Errorf("user %d of %s: status %d after %v", i, u.node, status, took)
			case u.node != victim.Name && node != u.node:
				t.Errorf("user %d was moved from the living %s to %s", i, u.node, node)
			case u.node == victim.Name && node == victim.Name:
				t.Errorf("user %d was answered by the dead", i)
			}
		}
		victim.Start()
		victim.WaitReady()
		c.WaitSame()
	})
}

func TestWithoutQuorumTheDoorGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		set(t, c.Node(1), "door.show_node", "true")
		c.WaitSame()
		time.Sleep(time.Second)
		last := c.Node(3)
		var cookies []*http.Cookie
		for node := ""; node != last.Name; {
			node, cookies = session(t, c, last)
		}
		c.Node(1).Crash()
		c.Node(2).Crash()
		time.Sleep(5 * time.Second)
		for range 10 {
			if status, node, _ := get(t, c.Browser(), last.Door()+"/doc/sales", cookies...); status != 200 || node != last.Name {
				t.Fatalf("an existing session without quorum: status %d from %s", status, node)
			}
			time.Sleep(time.Minute)
		}
		if status, _, _ := get(t, c.Browser(), last.Door()+"/usher/status"); status != 200 {
			t.Fatalf("status page without quorum: %d", status)
		}
		began := time.Now()
		_, err := last.API().SetSetting(t.Context(), "session.scope", "document")
		if problemCode(err) != "no_quorum" || time.Since(began) > 5*time.Second {
			t.Fatalf("a write without quorum: %v after %v", err, time.Since(began))
		}
		st, err := last.API().Status(t.Context())
		if err != nil || !st.Stale || st.Quorum || st.Servers.Reachable != 1 || st.Servers.Voters != 3 {
			t.Fatalf("status without quorum: %+v, %v", st, err)
		}
		c.Node(1).Start()
		c.Node(2).Start()
		c.Node(1).WaitReady()
		c.Node(2).WaitReady()
		c.WaitSame()
		set(t, last, "session.scope", "document")
	})
}

func TestDoorsServeFromTheCacheBeforeThereIsALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		set(t, c.Node(1), "door.show_node", "true")
		c.WaitSame()
		time.Sleep(15 * time.Second)
		node, cookies := session(t, c, c.Node(1))
		for _, n := range c.Up() {
			n.Stop()
		}
		var owner *Node
		for i := 1; i <= 3; i++ {
			if c.Node(i).Name == node {
				owner = c.Node(i)
			}
		}
		owner.Start()
		time.Sleep(3 * time.Second)
		if owner.Agent.Status().Leader != "" || !owner.Agent.View().Cached() {
			t.Fatal("one of three leads, or has live state")
		}
		if status, got, _ := get(t, c.Browser(), owner.Door()+"/doc/sales", cookies...); status != 200 || got != node {
			t.Fatalf("before there is a leader: status %d from %q, want %s (the setting from the cache)", status, got, node)
		}
		for i := 1; i <= 3; i++ {
			if n := c.Node(i); n != owner {
				n.Start()
			}
		}
		for _, n := range c.Up() {
			n.WaitReady()
		}
		c.WaitSame()
	})
}

func TestJoinAndLeaveOfAFourthAndFifthNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		four := c.Add()
		c.JoinNode(four)
		c.WaitVoters(3) // four servers are three voters
		five := c.Add()
		c.JoinNode(five)
		c.WaitVoters(5)
		c.WaitSame()
		set(t, five, "session.scope", "document")
		if err := c.Node(1).API().RemoveNode(t.Context(), five.Name, false); err != nil {
			t.Fatal(err)
		}
		if err := five.Ended(); !errors.Is(err, agent.ErrRemoved) || !errors.Is(err, agent.ErrPermanent) {
			t.Fatalf("the removed node ended with %v", err)
		}
		c.WaitVoters(3)
		c.WaitSame()
		set(t, four, "session.scope", "browser")
	})
}

// A node that was off, or cut off, while it was removed learns it all the same.
func TestRemovedWhileAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		off, cut := c.Add(), c.Add()
		c.JoinNode(off)
		c.JoinNode(cut)
		c.WaitSame()
		off.Stop()
		c.Net.Isolate(cut.Host)
		for _, n := range []*Node{off, cut} {
			if err := c.Node(1).API().RemoveNode(t.Context(), n.Name, true); err != nil {
				t.Fatal(err)
			}
		}
		c.Net.HealHost(cut.Host)
		off.Start()
		for _, n := range []*Node{off, cut} {
			if err := n.Ended(); !errors.Is(err, agent.ErrRemoved) || !errors.Is(err, agent.ErrPermanent) {
				t.Errorf("%s ended with %v", n.Name, err)
			}
		}
	})
}

func TestAddressesMayChangeAndBeSwapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		time.Sleep(12 * time.Second) // the caches are written
		move := func(ips ...string) {
			for _, n := range c.Up() {
				n.Stop()
			}
			for i, ip := range ips {
				n := c.Node(i + 1)
				n.Host.SetIP(ip)
				n.Config.Cluster.Bind, n.Config.Door.Listen = ip+":14747", ip+":8080"
				n.Config.Cluster.Join = nil
			}
		}
		up := func() {
			for i := 1; i <= 3; i++ {
				c.Node(i).Start()
			}
			for _, n := range c.Up() {
				n.WaitReady()
			}
			c.WaitSame()
		}
		move("10.0.0.2", "10.0.0.3", "10.0.0.1")
		up()
		set(t, c.Node(1), "session.scope", "document")
		time.Sleep(12 * time.Second)
		move("10.0.1.1", "10.0.1.2", "10.0.1.3")
		for i := 1; i <= 3; i++ {
			c.Node(i).Config.Cluster.Join = []string{"10.0.1.2:14747"}
		}
		up()
		set(t, c.Node(3), "session.scope", "browser")
	})
}

func TestCentralCutOffWhileATaskRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		for _, n := range c.Up() { // reloads take a while
			n.Stop()
			n.Delay = func(string) time.Duration { return 4 * time.Second }
		}
		for i := 1; i <= 3; i++ {
			c.Node(i).Start()
		}
		for _, n := range c.Up() {
			n.WaitReady()
		}
		central := c.WaitCentral()
		spec := admin.TaskSpec{
			Document: "sales", Every: admin.Duration(5 * time.Second), Attempts: 3,
			Timeout: admin.Duration(time.Minute), CatchUp: admin.Duration(5 * time.Minute),
		}
		if _, err := central.API().PutTask(t.Context(), "t", spec); err != nil {
			t.Fatal(err)
		}
		running := func() bool {
			for _, o := range central.Agent.View().OpenOccurrences() {
				if o.State == fsm.OccurrenceStarted {
					return true
				}
			}
			return false
		}
		c.Eventually(time.Minute, "a running task", running)
		c.Net.Isolate(central.Host)
		next := c.WaitCentral(central)
		time.Sleep(2 * time.Minute)
		c.Net.HealAll()
		if _, err := next.API().PauseTask(t.Context(), "t", "the test ends"); err != nil {
			t.Fatal(err)
		}
		c.Eventually(2*time.Minute, "an end of every occurrence", func() bool {
			return len(next.Agent.View().OpenOccurrences()) == 0
		})
		checkHistory(t, next, "t", 5*time.Second)
		c.WaitSame()
	})
}

// checkHistory checks that every due time from the first to the last has exactly
// one record, that each is terminal, and that no two attempts overlapped.
func checkHistory(t *testing.T, n *Node, task string, every time.Duration) {
	t.Helper()
	all := n.Agent.View().Occurrences(task)
	if len(all) < 10 {
		t.Fatalf("only %d occurrences", len(all))
	}
	succeeded := 0
	for i, o := range all {
		if !o.State.Terminal() {
			t.Errorf("the occurrence due %s is %s", o.Due.Time(), o.State)
		}
		if i > 0 && o.Due.Time().Sub(all[i-1].Due.Time()) != every {
			t.Errorf("%s follows %s", o.Due.Time(), all[i-1].Due.Time())
		}
		if o.State == fsm.OccurrenceSucceeded {
			succeeded++
		}
	}
	t.Logf("%d occurrences, %d succeeded", len(all), succeeded)
	if succeeded < len(all)/2 {
		t.Errorf("only %d of %d succeeded", succeeded, len(all))
	}
}

func TestPlannedMoveOfTheCentralRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		for i := range 6 {
			old := c.WaitCentral()
			to := c.Node(1 + i%3)
			asked := c.Node(1 + (i+1)%3)
			if _, err := asked.API().MoveCentral(t.Context(), to.Name); err != nil {
				t.Fatalf("move from %s to %s, asked at %s: %v", old.Name, to.Name, asked.Name, err)
			}
			if got := c.WaitCentral(); got != to {
				t.Fatalf("%s is central, want %s", got.Name, to.Name)
			}
		}
		// Whoever is asked, whoever leads: without a name it is another one.
		for _, leads := range c.Up() {
			for _, asked := range c.Up() {
				if _, err := asked.API().MoveCentral(t.Context(), leads.Name); err != nil {
					t.Fatal(err)
				}
				if got, err := asked.API().MoveCentral(t.Context(), ""); err != nil || got.Node == nil || got.Node.Name == leads.Name {
					t.Fatalf("away from %s, asked at %s: %+v, %v", leads.Name, asked.Name, got, err)
				}
			}
		}
	})
}

func TestRolledBackDataDirectoryFollowsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		n := c.Node(3)
		time.Sleep(12 * time.Second)
		n.Stop()
		saved := t.TempDir()
		if err := os.CopyFS(saved, os.DirFS(n.Config.DataDir)); err != nil {
			t.Fatal(err)
		}
		n.Start()
		n.WaitReady()
		set(t, n, "session.scope", "document")
		n.Stop()
		if err := os.RemoveAll(n.Config.DataDir); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(n.Config.DataDir, os.DirFS(saved)); err != nil {
			t.Fatal(err)
		}
		err := filepath.WalkDir(n.Config.DataDir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				return os.Chmod(path, 0o700)
			}
			return os.Chmod(path, 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
		n.Start()
		n.WaitReady()
		aside, err := filepath.Glob(filepath.Join(n.Config.DataDir, "raft.rolled-back-*"))
		if err != nil || len(aside) != 1 {
			t.Fatalf("set aside: %v, %v", aside, err)
		}
		c.WaitVoters(3)
		c.WaitSame()
		if got := text(n, "session.scope"); got != "document" {
			t.Fatalf("the node has %q after following anew", got)
		}
	})
}

// TestVotersStayWhenNodesBlink crashes nodes and starts them at once, so that gossip
// is behind the truth all the time. What gossip believes must not cost a voter.
func TestVotersStayWhenNodesBlink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		check := func(what string) {
			for _, n := range c.Up() {
				if st := n.Agent.Status(); st.IsLeader && len(st.Voters) != 3 {
					t.Fatalf("%s: %s leads %d voters", what, n.Name, len(st.Voters))
				}
			}
		}
		for round := range 12 {
			n := c.Node(1 + round%3)
			if round%2 == 1 {
				n = c.WaitCentral()
			}
			n.Crash()
			n.Start()
			for range 15 {
				time.Sleep(200 * time.Millisecond)
				check(n.Name + " blinked")
			}
		}
		for range 100 {
			time.Sleep(300 * time.Millisecond)
			check("afterwards")
		}
		for _, n := range c.Up() {
			n.WaitReady()
		}
		c.WaitSame()
	})
}

func TestDrainKeepsSessionsUntilItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		set(t, c.Node(1), "door.show_node", "true")
		c.WaitSame()
		time.Sleep(2 * time.Second)
		n := c.Node(2)
		var cookies []*http.Cookie
		for node := ""; node != n.Name; {
			node, cookies = session(t, c, c.Node(1))
		}
		change := admin.StateChange{Deadline: admin.Duration(30 * time.Second), Reason: "test"}
		if _, err := c.Node(1).API().Drain(t.Context(), n.Name, change); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for range 10 { // new sessions go elsewhere, the old one stays
			if node, _ := session(t, c, c.Node(1)); node == n.Name {
				t.Fatal("a draining node took a new session")
			}
		}
		if _, node, _ := get(t, c.Browser(), c.Node(3).Door()+"/doc/sales", cookies...); node != n.Name {
			t.Fatalf("before the deadline the session was moved to %s", node)
		}
		time.Sleep(32 * time.Second)
		status, node, _ := get(t, c.Browser(), c.Node(3).Door()+"/doc/sales", cookies...)
		if status != 200 || node == n.Name {
			t.Fatalf("after the deadline: status %d from %s", status, node)
		}
	})
}

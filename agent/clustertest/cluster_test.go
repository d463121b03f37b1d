package clustertest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/admin"
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

package consensus

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestWithoutDetectionACrashIsLeftToTheTimeouts: nobody asks for an election early, and
// there is one all the same.
func TestWithoutDetectionACrashIsLeftToTheTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l := settled(t, 3)
		defer c.stopAll()
		var e elections
		for _, m := range c.nodes {
			m.store.cfg.NoDetection = true // nobody looks at it before something ends
			e.watch(m)
		}
		began := time.Now()
		c.crash(l.id)
		c.leader(l.id)
		if took := time.Since(began); took < 450*time.Millisecond {
			t.Errorf("there was another leader after %v", took)
		}
		if len(e.terms) > 0 {
			t.Errorf("%d elections by detection", len(e.terms))
		}
	})
}

package admin

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/doctor"
	"github.com/ushercluster/usher/agent/peer"
)

func TestDoctorAnswers(t *testing.T) {
	r := newRig(t)
	got, err := r.client(n1, r.tok.operator).Doctor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []doctor.Line{{Check: "clock", Verdict: doctor.Failed, Seen: "an hour off", Next: "set it"}}
	if diff := cmp.Diff(want, got.Checks); diff != "" || got.Node.ID != n1 || got.At.IsZero() {
		t.Errorf("%+v\n%s", got, diff)
	}
}

func TestDebugPages(t *testing.T) {
	r := newRig(t)
	c := r.local(n1)
	for page, want := range map[string]string{
		DebugConfig: "data_dir: /var/lib/usher\n", DebugMachine: `{"os":"linux"}`, DebugLogs: "{\"message\":\"x\"}\n{}\n",
	} {
		if got, err := c.Debug(t.Context(), page); err != nil || string(got) != want {
			t.Errorf("%s: %q, want %q (%v)", page, got, want, err)
		}
	}
	for page, want := range map[string]string{DebugGoroutines: "TestDebugPages", DebugHeap: "# runtime.MemStats"} {
		if got, err := c.Debug(t.Context(), page); err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%s lacks %q (%v)", page, want, err)
		}
	}
	if got, err := c.Metrics(t.Context()); err != nil || string(got) != "usher_up 1\n" {
		t.Errorf("metrics: %q (%v)", got, err)
	}
	var p *Problem
	if _, err := c.Debug(t.Context(), "nothing"); !errors.As(err, &p) || p.Code != CodeNotFound {
		t.Errorf("a page that is not there: %v", err)
	}
}

func TestCPUProfile(t *testing.T) {
	r := newRig(t)
	c := r.local(n1)
	began := time.Now()
	b, err := c.CPUProfile(t.Context(), time.Second)
	if err != nil || len(b) < 64 || b[0] != 0x1f || b[1] != 0x8b { // pprof's files are gzip
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("measured for %v", took)
	}
	for _, seconds := range []string{"0", "61", "x"} {
		if got := r.do(t.Context(), n1, originSocket, request{method: http.MethodGet, path: "/v1/debug/cpu?seconds=" + seconds}); got.status != http.StatusBadRequest {
			t.Errorf("seconds=%s: %d", seconds, got.status)
		}
	}
}

// Over TCP the pages are for callers on the machine itself.
func TestDebugIsForThisMachine(t *testing.T) {
	r := newRig(t)
	var p *Problem
	if _, err := r.client(n1, r.tok.admin).Debug(t.Context(), DebugConfig); !errors.As(err, &p) || p.Code != CodeDenied {
		t.Errorf("an administrator elsewhere: %v", err)
	}
	for token, want := range map[string]int{r.tok.admin: http.StatusOK, r.tok.operator: http.StatusForbidden, "": http.StatusUnauthorized} {
		got := r.loopback(n1, request{method: http.MethodGet, path: "/v1/debug/config", token: token})
		if got.status != want {
			t.Errorf("on loopback: %d %s, want %d", got.status, got.body, want)
		}
	}
}

func TestReachAsksBack(t *testing.T) {
	r := newRig(t)
	for from, want := range map[peer.ID]string{n1: "", n2: "connection refused"} {
		to := n1
		if from == n1 {
			to = n2
		}
		back, err := r.node[from].f.Reach(t.Context(), to)
		if err != nil || (back == nil) != (want == "") || back != nil && back.Error() != want {
			t.Errorf("%s asks %s: back %v, %v; want %q", from, to, back, err, want)
		}
	}
}

// The other clock is found however long the way is, within half of a round trip.
func TestClockByTheMidpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ahead = 3 * time.Second
		r := newRig(t, func(id peer.ID, c *Config) {
			if id == n2 {
				c.Now = func() time.Time { return time.Now().Add(ahead) }
			}
		})
		r.net.SetDelay(100 * time.Millisecond)
		off, within, err := r.node[n1].f.Clock(t.Context(), n2, time.Now)
		if err != nil || (off-ahead).Abs() > time.Millisecond || within > 200*time.Millisecond {
			t.Errorf("%v give or take %v, want %v (%v)", off, within, ahead, err)
		}
	})
}

package admin

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ushercluster/usher/fsm"
)

// parked is a server's own count.
func parked(t testing.TB, reg *prometheus.Registry) int {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "usher_admin_parked_connections" {
			return int(f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	t.Fatal("no such metric")
	return 0
}

// line is a caller with one connection.
type line struct {
	net.Conn
	r  *rig
	in *bufio.Reader
}

func (r *rig) line() *line {
	r.t.Helper()
	c := r.raw("")
	return &line{Conn: c, r: r, in: bufio.NewReader(c)}
}

func (l *line) ask(path string) {
	l.r.t.Helper()
	if _, err := io.WriteString(l, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+l.r.tok.viewer+"\r\n\r\n"); err != nil {
		l.r.t.Fatal(err)
	}
}

func (l *line) answer() (status int, body string) {
	l.r.t.Helper()
	resp, err := http.ReadResponse(l.in, nil)
	if err != nil {
		l.r.t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		l.r.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (r *rig) revision() string { return strconv.FormatUint(r.tr.fsm.View().Revision(), 10) }

// TestOneConnectionForAllRequests goes through waiting and other requests on one
// connection, sent one after the other and before the answer to the one before.
func TestOneConnectionForAllRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		l := r.line()
		defer l.Close()
		for i, level := range []string{"warn", "error", "debug"} {
			l.ask("/v1/settings/log.level?wait=60s&index=" + r.revision())
			synctest.Wait()
			if n := parked(t, r.registry[n1]); n != 1 {
				t.Fatalf("%d are parked", n)
			}
			r.tr.must(t, &fsm.SetSetting{Key: "log.level", Value: level})
			if status, body := l.answer(); status != 200 || !strings.Contains(body, `"value":"`+level+`"`) {
				t.Errorf("%d: %d %s", i, status, body)
			}
			time.Sleep(time.Minute) // idle
			l.ask("/v1/whoami")
			if status, body := l.answer(); status != 200 {
				t.Errorf("%d: %d %s", i, status, body)
			}
		}
		if n := parked(t, r.registry[n1]); n != 0 {
			t.Errorf("%d are parked", n)
		}
		// A request that is sent before the answer ends the wait.
		began := time.Now()
		l.ask("/v1/settings/log.level?wait=60s&index=" + r.revision())
		synctest.Wait()
		l.ask("/v1/whoami")
		for range 2 {
			if status, body := l.answer(); status != 200 || time.Since(began) > 0 {
				t.Errorf("after %v: %d %s", time.Since(began), status, body)
			}
		}
		// Nobody asks again: the connection ends.
		l.ask("/v1/settings/log.level?wait=1s&index=" + r.revision())
		l.answer()
		began = time.Now()
		if _, err := l.in.ReadByte(); err != io.EOF || time.Since(began) != idleTimeout {
			t.Errorf("idle for %v: %v", time.Since(began), err)
		}
	})
}

// TestWaitersWhoGo holds that a caller who hangs up leaves nothing behind, not even a
// place among the connections: there are more callers than places.
func TestWaitersWhoGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		for round := range maxConns + 2 {
			l := r.line()
			if round%2 == 0 {
				l.ask("/v1/settings?wait=60s&index=" + r.revision())
			} else {
				l.ask("/v1/events")
			}
			synctest.Wait()
			look := round < 10 || round >= maxConns
			if look && parked(t, r.registry[n1]) != 1 {
				t.Fatalf("nobody is parked in round %d", round)
			}
			l.Close()
			synctest.Wait()
			if !look {
				continue
			}
			if n, streams := parked(t, r.registry[n1]), len(r.node[n1].s.streams); n != 0 || streams != 0 {
				t.Fatalf("%d are parked, %d streams are open after the caller went", n, streams)
			}
		}
	})
}

// TestOnlyThoseConcernedAreWoken changes one table after the other.
func TestOnlyThoseConcernedAreWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		settings, cluster, all := r.line(), r.line(), r.line()
		for l, path := range map[*line]string{settings: "/v1/settings/log.level", cluster: "/v1/cluster", all: "/v1/status"} {
			defer l.Close()
			l.ask(path + "?wait=60s&index=" + r.revision())
		}
		synctest.Wait()
		woken := func() (out int) {
			synctest.Wait()
			return int(r.requests(n1, "GET /v1/settings/{key}") + 10*r.requests(n1, "GET /v1/cluster") + 100*r.requests(n1, "GET /v1/status"))
		}
		r.tr.must(t, &fsm.RequestRun{Task: "sales"})
		if got := woken(); got != 100 {
			t.Errorf("a run has woken %03d", got)
		}
		r.tr.must(t, &fsm.SetSetting{Key: "log.level", Value: "warn"})
		if got := woken(); got != 101 {
			t.Errorf("a setting has woken %03d", got)
		}
		r.tr.must(t, &fsm.RenameCluster{Name: "x"})
		if got := woken(); got != 111 {
			t.Errorf("a name has woken %03d", got)
		}
	})
}

// TestFewAreAwakeAtATime holds that a change which concerns many does not start as many
// answers at once.
func TestFewAreAwakeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		const callers = 3 * maxAwake
		for range callers {
			l := r.line()
			defer l.Close()
			l.ask("/v1/settings/log.level?wait=60s&index=" + r.revision())
		}
		synctest.Wait()
		b := r.node[n1].b
		b.readWait = true
		r.tr.must(t, &fsm.SetSetting{Key: "log.level", Value: "warn"})
		synctest.Wait()
		if got := b.reads.Load(); got != maxAwake {
			t.Errorf("%d of %d are awake", got, callers)
		}
		time.Sleep(time.Minute)
		if got := b.reads.Load(); got != callers {
			t.Errorf("%d of %d were woken in the end", got, callers)
		}
	})
}

// TestSlowReadersDoNotKeepOthersWaiting has more callers who do not read their answer
// than may be awake at a time.
func TestSlowReadersDoNotKeepOthersWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		r.node[n1].b.sessions = []Session{testSession("nothing", n1, strings.Repeat("x", 1<<20))} // more than fits into a socket
		var slow []*line
		for range 2 * maxAwake {
			l := r.line()
			defer l.Close()
			l.ask("/v1/sessions?stale&wait=60s&index=" + r.revision())
			slow = append(slow, l)
		}
		l := r.line()
		defer l.Close()
		l.ask("/v1/settings/log.level?stale&wait=60s&index=" + r.revision())
		synctest.Wait()
		if n := parked(t, r.registry[n1]); n != len(slow)+1 {
			t.Fatalf("%d are parked", n)
		}
		began := time.Now()
		r.tr.must(t, &fsm.SetSetting{Key: "log.level", Value: "warn"})
		if status, _ := l.answer(); status != 200 || time.Since(began) > time.Second {
			t.Errorf("%d after %v", status, time.Since(began))
		}
	})
}

// TestStopEndsParkedConnections holds that who waits is told, and that who has been
// answered and has not asked again does not hold the stop up.
func TestStopEndsParkedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		waits, idle, stream := r.line(), r.line(), r.line()
		idle.ask("/v1/settings?wait=1s&index=" + r.revision())
		idle.answer()
		waits.ask("/v1/settings?wait=60s&index=" + r.revision())
		stream.ask("/v1/events")
		synctest.Wait()
		began := time.Now()
		r.node[n1].stop()
		if status, body := waits.answer(); status != 503 || !strings.Contains(body, string(CodeClosing)) {
			t.Errorf("%d %s", status, body)
		}
		waits.Close()
		r.node[n1].served.Wait()
		if took := time.Since(began); took > 0 {
			t.Errorf("the stop took %v", took)
		}
		if n := parked(t, r.registry[n1]); n != 0 {
			t.Errorf("%d are parked", n)
		}
		stream.Close()
		idle.Close()
	})
}

// TestPanicOfAWaiter holds that a defect in an answer ends one connection.
func TestPanicOfAWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		l := r.line()
		defer l.Close()
		l.ask("/v1/tasks?wait=60s&index=" + r.revision())
		synctest.Wait()
		r.node[n1].s.cfg.NextDue = func(fsm.Task, time.Time, int) []time.Time { panic("a defect") }
		r.tr.must(t, &fsm.RequestRun{Task: "sales"})
		if _, err := l.in.ReadByte(); err != io.EOF {
			t.Errorf("after a panic: %v", err)
		}
		synctest.Wait()
		got := r.do(context.Background(), n1, originTCP, request{method: "GET", path: "/v1/whoami", token: r.tok.viewer})
		if n := parked(t, r.registry[n1]); n != 0 || got.status != 200 {
			t.Errorf("%d are parked, %d", n, got.status)
		}
	})
}

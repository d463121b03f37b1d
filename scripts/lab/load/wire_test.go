package load

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/scripts/lab/history"
)

// script is a node whose answers the test writes.
func script(t *testing.T, h http.HandlerFunc) (*Load, string) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	path := filepath.Join(t.TempDir(), "h")
	rec, err := history.Open(path, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rec.Close() })
	l, err := newLoad(Config{Nodes: []Node{{Name: "n1", API: srv.URL, Door: strings.TrimPrefix(srv.URL, "http://")}}, Rec: rec, Pace: quick})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.end)
	return l, path
}

func recorded(t *testing.T, l *Load, path string) []history.Op {
	t.Helper()
	if err := l.cfg.Rec.Close(); err != nil {
		t.Fatal(err)
	}
	ops, _, err := history.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range ops {
		if ops[i].End < ops[i].Begin {
			t.Errorf("%s", &ops[i])
		}
		ops[i].Begin, ops[i].End = 0, 0
	}
	return ops
}

// An answer to a write that shows another's row says two things: that the write is done, and
// what is there.
func TestOvertaken(t *testing.T) {
	var sent []string
	l, path := script(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		sent = append(sent, r.Method+" "+r.URL.Path+" "+r.Header.Get("If-Match")+" "+string(b))
		w.Header().Set("X-Usher-Index", "11")
		_, _ = io.WriteString(w, `{"key":"k","value":"other","modified":9}`)
	})
	a := l.newAsker(7)
	defer a.close()
	if !a.write("k", "mine", 0, 5) {
		t.Error("it was not answered")
	}
	want := []history.Op{
		{Client: 7, Kind: history.CompareAndSet, Node: "n1", Key: "k", Value: "mine", Expected: 5, Index: 9, Outcome: history.OK},
		{Client: 7, Kind: history.Read, Node: "n1", Key: "k", Value: "other", Revision: 9, Index: 11, Outcome: history.OK, Detail: "shown by the answer to a write"},
	}
	if d := cmp.Diff(want, recorded(t, l, path)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{`PUT /v1/settings/k "5" {"value":"mine"}`}, sent); d != "" {
		t.Error(d)
	}
}

// An answer that is not about the key is nobody's acknowledgement.
func TestStrangeAnswer(t *testing.T) {
	for _, body := range []string{"", "{}", `{"key":"l","value":"v","modified":9}`, "<html>"} {
		l, path := script(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Usher-Index", "11")
			_, _ = io.WriteString(w, body)
		})
		a := l.newAsker(7)
		if a.write("k", "mine", 0, 0) {
			t.Errorf("%q was taken for an answer", body)
		}
		a.close()
		if ops := recorded(t, l, path); len(ops) != 1 || ops[0].Outcome != history.Unknown || l.Acknowledged()[history.Write] != 0 {
			t.Errorf("%q: %+v", body, ops)
		}
	}
}

// A try that hangs ends with the client's patience, of unknown outcome; one that cannot be
// sent is none.
func TestPatience(t *testing.T) {
	stop := make(chan struct{})
	l, _ := script(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})
	defer close(stop)
	w, err := newWire(l.cfg.Nodes[0].API, 30*time.Millisecond, l.buffers)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = w.do(t.Context(), http.MethodGet, w.request(http.MethodGet, "/", ""))
	if err == nil || errors.Is(err, errNotSent) || w.conn != nil || time.Since(began) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = w.do(over, http.MethodGet, nil); !errors.Is(err, errNotSent) {
		t.Errorf("%v", err)
	}
	if _, err := newWire("nonsense", time.Second, l.buffers); err == nil {
		t.Error("an address without port was accepted")
	}
}

// A socket whose session began anew behind its back says so.
func TestForgottenSession(t *testing.T) {
	l, path := script(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Usher-Node", "n2")
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		for _, n := range []string{"1", "2", "1"} {
			if _, _, err := c.Read(r.Context()); err != nil {
				return
			}
			_ = c.Write(r.Context(), websocket.MessageText, []byte(`{"requests":`+n+`}`))
		}
		_, _, _ = c.Read(r.Context())
	})
	s := &session{l: l, id: firstSession + 1, rng: l.rng(1), route: newRoute(1, 0), cookies: map[string]string{}}
	l.open.Add(1)
	k := s.connect()
	if k == nil {
		t.Fatal("no connection")
	}
	if !s.converse(k) {
		t.Error("it should go on with another one")
	}
	k.close()
	ops := recorded(t, l, path)
	var got []history.Outcome
	for _, o := range ops {
		got = append(got, o.Outcome)
	}
	if d := cmp.Diff([]history.Outcome{history.OK, history.OK, history.OK, history.Unknown}, got); d != "" || !strings.Contains(ops[len(ops)-1].Detail, "counts 1 requests after 2") {
		t.Errorf("%s: %+v", d, ops)
	}
}

func TestOccurrenceOf(t *testing.T) {
	at := time.Date(2026, 1, 31, 6, 0, 0, 0, time.UTC)
	got := occurrenceOf(&admin.Occurrence{
		ID: "t@x", Task: "t", Due: at, Manual: true, State: "succeeded", Attempt: 2, Node: &admin.Ref{Name: "n2"}, Started: at,
		History: []admin.Attempt{{Number: 1, Node: "id1", State: "lost"}},
	}, map[peer.ID]string{"id1": "n1"})
	want := history.Occurrence{ID: "t@x", Task: "t", Due: at, Manual: true, State: "succeeded", Attempts: []history.AttemptState{
		{Number: 1, Node: "n1", State: "lost"}, {Number: 2, Node: "n2", Started: true, State: "succeeded"},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n := len(occurrenceOf(&admin.Occurrence{State: "missed"}, nil).Attempts); n != 0 {
		t.Errorf("%d attempts of one that was missed", n)
	}
}

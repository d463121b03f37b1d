package engine

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
)

func TestParseReport(t *testing.T) {
	many := `{"version":1,"documents":[` + strings.Repeat(`{"key":"a"},`, MaxReportDocuments) + `{"key":"b"}]}`
	tests := map[string]struct {
		in       string
		permille int
		keys     []string
		wantErr  string
	}{
		"full":             {`{"version":1,"load_permille":250,"sessions":3,"documents":[{"key":"b","bytes":2},{"key":"a","bytes":1}]}`, 250, []string{"a", "b"}, ""},
		"least":            {`{"version":1}`, -1, []string{}, ""},
		"idle is not none": {`{"version":1,"load_permille":0}`, 0, []string{}, ""},
		"more members":     {`{"version":1,"gpu":{"free":1}}`, -1, []string{}, ""},
		"not json":         {`<html>`, 0, nil, "load report"},
		"no version":       {`{}`, 0, nil, "version 0"},
		"next version":     {`{"version":2}`, 0, nil, "version 2"},
		"over the top":     {`{"version":1,"load_permille":1001}`, 0, nil, "load_permille 1001"},
		"negative":         {`{"version":1,"sessions":-1}`, 0, nil, "sessions -1"},
		"twice":            {`{"version":1,"documents":[{"key":"a"},{"key":"a"}]}`, 0, nil, "twice"},
		"empty key":        {`{"version":1,"documents":[{"key":""}]}`, 0, nil, "empty"},
		"control key":      {`{"version":1,"documents":[{"key":"a\n"}]}`, 0, nil, "printable"},
		"long key":         {`{"version":1,"documents":[{"key":"` + strings.Repeat("k", 129) + `"}]}`, 0, nil, "longer"},
		"negative bytes":   {`{"version":1,"documents":[{"key":"a","bytes":-1}]}`, 0, nil, "bytes -1"},
		"too many":         {many, 0, nil, "documents"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := ParseReport([]byte(tc.in))
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("got %+v, %v, want an error that says %q", r, err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.Permille() != tc.permille {
				t.Errorf("permille %d, want %d", r.Permille(), tc.permille)
			}
			if diff := cmp.Diff(tc.keys, r.Keys(peer.MaxDocuments)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestKeysPrefersTheLargest(t *testing.T) {
	r := &Report{Documents: []DocumentReport{{"a", 1}, {"b", 9}, {"c", 5}}}
	if diff := cmp.Diff([]string{"b", "c"}, r.Keys(2)); diff != "" {
		t.Error(diff)
	}
	var none *Report
	if none.Keys(2) != nil || none.Permille() != -1 {
		t.Error("no report must have no keys and no opinion")
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add([]byte(`{"version":1,"load_permille":250,"sessions":3,"documents":[{"key":"a","bytes":1}]}`))
	f.Add([]byte(`{"version":1,"documents":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseReport(b)
		if err != nil {
			return
		}
		if p := r.Permille(); p < -1 || p > 1000 {
			t.Errorf("permille %d", p)
		}
		if len(r.Documents) > MaxReportDocuments || r.Sessions < 0 {
			t.Errorf("beyond the limits: %+v", r)
		}
		for i := 1; i < len(r.Documents); i++ {
			if r.Documents[i-1].Key >= r.Documents[i].Key {
				t.Errorf("not sorted at %d", i)
			}
		}
	})
}

// asked serves GET load by h and counts how often it is asked.
func asked(n *atomic.Int64, h http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", status(200))
	mux.HandleFunc(DefaultPrefix+"load", func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		h.ServeHTTP(w, r)
	})
	return mux
}

func body(contentType, text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, text)
	})
}

func TestDiscovery(t *testing.T) {
	good := body("application/json; charset=utf-8", `{"version":1,"sessions":7}`)
	tests := map[string]struct {
		handler   http.Handler
		least     int64 // questions in ten minutes
		most      int64
		offered   bool
		reportErr string
	}{
		"offered":         {good, 250, 340, true, ""},
		"not found":       {status(404), 2, 2, false, ""},
		"not implemented": {status(501), 2, 2, false, ""},
		"login redirect":  {status(302), 2, 2, false, ""},
		"no secret":       {status(401), 2, 2, false, ""},
		"start page":      {body("text/html", "<h1>Hello</h1>"), 2, 2, false, ""},
		"broken":          {status(500), 18, 20, false, "answered 500"},
		"cut off":         {http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), 18, 20, false, "EOF"},
		"bad json":        {body("application/json", "{"), 18, 20, false, "load report"},
		"too long":        {body("application/json", strings.Repeat(" ", maxBody+1)), 18, 20, false, "longer than"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n atomic.Int64
				f := newFake(t)
				f.serve(asked(&n, tc.handler))
				defer f.stop()
				e := f.engine(nil)
				defer run(t, e)()
				time.Sleep(10*time.Minute - 10*time.Second)
				wantHealth(t, e, peer.Healthy) // whatever the API does
				s := e.Status()
				if (s.Report != nil) != tc.offered || !strings.Contains(s.ReportErr, tc.reportErr) || (s.ReportErr != "") != (tc.reportErr != "") {
					t.Errorf("report %+v, error %q", s.Report, s.ReportErr)
				}
				if got := n.Load(); got < tc.least || got > tc.most {
					t.Errorf("asked %d times in ten minutes, want %d to %d", got, tc.least, tc.most)
				}
			})
		})
	}
}

func TestReportChangesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gone atomic.Bool
		var n atomic.Int64
		f := newFake(t)
		f.serve(asked(&n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if gone.Load() {
				w.WriteHeader(404)
				return
			}
			body("application/json", `{"version":1,"sessions":7}`).ServeHTTP(w, r)
		})))
		defer f.stop()
		e := f.engine(nil)
		defer run(t, e)()
		synctest.Wait()
		if s := e.Status(); s.Report == nil || s.Report.Sessions != 7 || !s.Report.Received.Equal(start) {
			t.Fatalf("report %+v", s.Report)
		}
		<-e.Changed()
		time.Sleep(5 * time.Second)
		select {
		case <-e.Changed():
			t.Error("the same report again was called a change")
		default:
		}
		gone.Store(true)
		<-e.Changed()
		if s := e.Status(); s.Report != nil {
			t.Errorf("an old report was kept: %+v", s.Report)
		}
	})
}

func TestSecretIsSentToTheAPIOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("correct-horse-battery\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var probe, load atomic.Value
		mux := http.NewServeMux()
		mux.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) { probe.Store(r.Header.Get("Authorization")) })
		mux.HandleFunc(DefaultPrefix+"load", func(w http.ResponseWriter, r *http.Request) {
			load.Store(r.Header.Get("Authorization"))
			w.WriteHeader(403)
		})
		f := newFake(t)
		f.serve(mux)
		defer f.stop()
		e := f.engine(func(c *Config) { c.API.SecretFile = file })
		defer run(t, e)()
		synctest.Wait()
		if got := probe.Load(); got != "" {
			t.Errorf("the health probe carries %q", got)
		}
		if got := load.Load(); got != "Bearer correct-horse-battery" {
			t.Errorf("the load question carries %q", got)
		}
		if s := e.Status(); !strings.Contains(s.ReportErr, "403 to our secret") {
			t.Errorf("a refused secret is not reported: %q", s.ReportErr)
		}
	})
}

func TestReadSecret(t *testing.T) {
	for name, tc := range map[string]struct {
		content string
		ok      bool
	}{
		"good":      {"0123456789abcdef\r\n", true},
		"short":     {"0123456789abcde", false},
		"two lines": {"0123456789abcdef\n0123456789abcdef", false},
		"space":     {"0123456789 abcdef", false},
		"long":      {strings.Repeat("x", maxSecret+1), false},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(file, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := ReadSecret(file)
			if (err == nil) != tc.ok || tc.ok && s != "0123456789abcdef" {
				t.Errorf("got %q, %v", s, err)
			}
			if err != nil && strings.Contains(err.Error(), "0123") {
				t.Errorf("the error holds the secret: %v", err)
			}
		})
	}
}

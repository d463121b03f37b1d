package engine

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestJudgeReload(t *testing.T) {
	tests := map[string]struct {
		status int
		ctype  string
		body   string
		want   ReloadResult
		err    *ReloadError
	}{
		"done":         {200, "application/json", `{"rows":5,"duration_ms":12,"message":"ok\nfine"}`, ReloadResult{5, 12, "ok fine"}, nil},
		"no content":   {204, "", "", ReloadResult{}, nil},
		"start page":   {200, "text/html", "<h1>", ReloadResult{}, &ReloadError{Code: CodeNotOffered, Message: "the engine answered 200 without JSON", Permanent: true}},
		"bad json":     {200, "application/json", "{", ReloadResult{}, &ReloadError{Code: CodeBadAnswer, Message: "unexpected end of JSON input"}},
		"stale":        {409, "application/problem+json", `{"code":"stale_fence","detail":"12 is known"}`, ReloadResult{}, &ReloadError{Code: CodeStaleFence, Message: "12 is known", Permanent: true}},
		"running":      {409, "application/problem+json", `{"code":"reload_running"}`, ReloadResult{}, &ReloadError{Code: CodeRunning, Message: "the engine answered 409"}},
		"unknown":      {404, "application/problem+json", `{"code":"unknown_document","title":"Not Found"}`, ReloadResult{}, &ReloadError{Code: CodeUnknown, Message: "Not Found", Permanent: true}},
		"no such path": {404, "text/plain", "404 page not found", ReloadResult{}, &ReloadError{Code: CodeNotOffered, Message: "the engine answered 404", Permanent: true}},
		"no body":      {404, "", "", ReloadResult{}, &ReloadError{Code: CodeNotOffered, Message: "the engine answered 404", Permanent: true}},
		"501":          {501, "", "", ReloadResult{}, &ReloadError{Code: CodeNotOffered, Message: "the engine answered 501", Permanent: true}},
		"login":        {302, "", "", ReloadResult{}, &ReloadError{Code: CodeNotOffered, Message: "the engine answered 302", Permanent: true}},
		"malformed":    {422, "application/json", `{"error":"3 fields","line":7,"column":2}`, ReloadResult{}, &ReloadError{Code: CodeMalformed, Message: "3 fields", Line: 7, Column: 2}},
		"denied":       {401, "", "", ReloadResult{}, &ReloadError{Code: CodeDenied, Message: "the engine answered 401", Permanent: true}},
		"bad request":  {400, "application/problem+json", `{"code":"bad_request"}`, ReloadResult{}, &ReloadError{Code: CodeBadRequest, Message: "the engine answered 400", Permanent: true}},
		"timeout":      {504, "application/problem+json", `{"code":"timeout","detail":"took too long"}`, ReloadResult{}, &ReloadError{Code: CodeTimeout, Message: "took too long"}},
		"server error": {500, "text/html", "<h1>oops", ReloadResult{}, &ReloadError{Code: CodeFailed, Message: "the engine answered 500"}},
		"wild numbers": {422, "application/json", `{"line":-7,"column":-1}`, ReloadResult{}, &ReloadError{Code: CodeMalformed, Message: "the engine answered 422"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			res, err := judgeReload(answer{status: tc.status, header: http.Header{"Content-Type": {tc.ctype}}, body: []byte(tc.body)})
			if diff := cmp.Diff(tc.err, err, cmpopts.IgnoreFields(ReloadError{}, "Err")); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tc.want, res); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzJudgeReload(f *testing.F) {
	f.Add(200, []byte(`{"rows":1}`))
	f.Add(422, []byte(`{"error":"x","line":1,"column":2}`))
	f.Fuzz(func(t *testing.T, status int, b []byte) {
		_, err := judgeReload(answer{status: status, header: http.Header{"Content-Type": {"application/problem+json"}}, body: b})
		if (err == nil) != (status == 200 && json.Valid(b) || status == 204) && !(err != nil && err.Code == CodeBadAnswer) {
			t.Errorf("%d %q: %v", status, b, err)
		}
		if err == nil {
			return
		}
		if err.Code == "" || err.Line < 0 || err.Column < 0 || len(err.Message) > maxMessage || strings.ContainsAny(err.Message, "\r\n\x00") {
			t.Errorf("%d %q: %+v", status, b, err)
		}
	})
}

func TestReloadSendsWhatWasAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got map[string]any
		f := newFake(t)
		f.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost || r.URL.Path != DefaultPrefix+"reload" {
				w.WriteHeader(404)
				return
			}
			b, _ := io.ReadAll(r.Body)
			_ = json.Unmarshal(b, &got)
			time.Sleep(3 * time.Minute) // longer than any probe
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"rows":42}`)
		}))
		defer f.stop()
		res, err := f.engine(nil).Reload(context.Background(), ReloadRequest{
			Document: "sales", Task: "nightly", Occurrence: start, Attempt: 2, Fence: 77, TimeoutSeconds: 600,
		})
		if err != nil || res.Rows != 42 {
			t.Fatalf("got %+v, %v", res, err)
		}
		want := map[string]any{
			"document": "sales", "task": "nightly", "occurrence": "2000-01-01T00:00:00Z",
			"attempt": 2.0, "fence": 77.0, "timeout_seconds": 600.0,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestReloadAbortClosesTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := make(chan struct{})
		f := newFake(t)
		f.serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			close(seen)
		}))
		defer f.stop()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := f.engine(nil).Reload(ctx, ReloadRequest{Document: "sales"})
		<-seen
		var re *ReloadError
		if !errors.As(err, &re) || re.Code != CodeAborted || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if d := time.Since(start); d != time.Minute {
			t.Errorf("it took %v", d)
		}
	})
}

func TestReloadTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}))
		defer f.stop()
		_, err := f.engine(nil).Reload(context.Background(), ReloadRequest{Document: "sales", TimeoutSeconds: 30})
		var re *ReloadError
		if !errors.As(err, &re) || re.Code != CodeTimeout || re.Permanent {
			t.Errorf("got %v", err)
		}
		if d := time.Since(start); d != 30*time.Second+reloadGrace {
			t.Errorf("it took %v", d)
		}
	})
}

func TestReloadOfADeadEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newFake(t).engine(nil)
		_, err := e.Reload(context.Background(), ReloadRequest{Document: "sales"})
		var re *ReloadError
		if !errors.As(err, &re) || re.Code != CodeUnreachable || !refused(err) || re.Permanent {
			t.Errorf("got %v", err)
		}
		off := newFake(t).engine(func(c *Config) { c.API.Off = true })
		if _, err := off.Reload(context.Background(), ReloadRequest{Document: "sales"}); !errors.As(err, &re) || re.Code != CodeNotOffered {
			t.Errorf("with the API off: got %v", err)
		}
		if _, err := e.Reload(context.Background(), ReloadRequest{}); err == nil || errors.As(err, &re) && re.Code == CodeUnreachable {
			t.Errorf("an invalid request: got %v", err)
		}
	})
}

package builtin

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent/engine"
)

// counting is a source of "random" bytes that is the same in every run.
type counting struct{ n byte }

func (c *counting) Read(p []byte) (int, error) {
	for i := range p {
		c.n++
		p[i] = c.n
	}
	return len(p), nil
}

const people = "name,team,age\nAda,red,36\nBob,blue,40\n\"<b>Eve</b>\",red,\n"

func still(o *Options) {
	o.Rand = &counting{}
	o.Now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
}

// stable leaves out what is inlined from other files.
func stable(page string) string {
	for _, tag := range []string{"style", "script"} {
		a, b := strings.Index(page, "<"+tag), strings.Index(page, "</"+tag+">")
		if a >= 0 && b >= 0 {
			a += strings.Index(page[a:], ">") + 1
			page = page[:a] + "..." + page[b:]
		}
	}
	return page
}

func TestPagesGolden(t *testing.T) {
	many := "n,odd\n" + strings.Repeat("1,yes\n2,no\n", 60)
	tests := map[string]struct {
		target string
		header []string
	}{
		"list.html":     {"/", nil},
		"document.html": {"/doc/people", []string{"X-Usher-Door", "door-b", "X-Usher-Session", "s7f3", "X-Forwarded-User", "ada@example.com"}},
		"filtered.html": {"/doc/people?filter=team:red&filter=", []string{"X-Usher-Moved-From", "node-c"}},
		"second.html":   {"/doc/many?filter=odd:yes&offset=50&limit=5", nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s, _ := newServer(t, map[string]string{"people": people, "many": many}, still)
			w := get(s, tc.target, tc.header...)
			if w.Code != 200 {
				t.Fatalf("%d: %s", w.Code, w.Body)
			}
			golden(t, name, stable(w.Body.String()))
		})
	}
}

func TestPageIsSealed(t *testing.T) {
	s, _ := newServer(t, map[string]string{"people": people}, nil)
	a, b := get(s, "/doc/people"), get(s, "/doc/people")
	csp := a.Header().Get("Content-Security-Policy")
	if !strings.HasPrefix(csp, "default-src 'none';") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q", csp)
	}
	if csp == b.Header().Get("Content-Security-Policy") {
		t.Error("two pages share a nonce")
	}
	page := a.Body.String()
	if strings.Contains(page, "http://") || strings.Contains(page, "https://") || strings.Contains(page, "src=") {
		t.Error("the page fetches something")
	}
	if strings.Contains(page, "<b>Eve") {
		t.Error("a field is not escaped")
	}
	for _, inline := range []string{" style=", " onclick="} {
		if strings.Contains(page, inline) {
			t.Errorf("%q would be blocked by the policy", inline)
		}
	}
	c := a.Result().Cookies()
	if len(c) != 1 || c[0].Name != cookieName || !c[0].HttpOnly || c[0].SameSite != http.SameSiteLaxMode || c[0].Secure {
		t.Fatalf("cookies %v", c)
	}
	if strings.Contains(page, c[0].Value) {
		t.Error("the page shows the whole of a cookie that scripts must not read")
	}
	if c := get(s, "/", "X-Forwarded-Proto", "https").Result().Cookies(); !c[0].Secure {
		t.Error("behind TLS the cookie is not Secure")
	}
}

func TestDocumentsThatAreNone(t *testing.T) {
	s, dir := newServer(t, map[string]string{"bad": "a,b\n1\n"}, nil)
	if err := os.Mkdir(filepath.Join(dir, "folder.csv"), 0o700); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "secret.csv")
	if err := os.WriteFile(outside, []byte("a\n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link.csv")); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
	for _, key := range []string{"none", "folder", "..%2fx", ".tmp-bad", "a%20b", strings.Repeat("k", 65)} {
		for _, path := range []string{"", "/api/query", "/ws"} {
			wantProblem(t, get(s, "/doc/"+key+path), 404, engine.CodeUnknown)
		}
	}
	if w := get(s, "/doc/link"); w.Code == 200 {
		t.Error("a link led out of the directory")
	}
	p := wantProblem(t, get(s, "/doc/bad"), 422, engine.CodeMalformed)
	if p.Line != 2 || p.Column != 1 || p.Error == "" {
		t.Errorf("problem %+v", p)
	}
	if w := get(s, "/"); strings.Contains(w.Body.String(), "folder") {
		t.Error("a folder is listed")
	}
}

func TestUserCounters(t *testing.T) {
	s, _ := newServer(t, map[string]string{"people": people}, nil)
	if len(s.Counters().Loads) != 0 {
		t.Error("a document was loaded before its first use")
	}
	w := get(s, "/doc/people")
	cookie := cookieName + "=" + w.Result().Cookies()[0].Value
	for range 3 {
		w = get(s, "/doc/people", "Cookie", cookie)
		if len(w.Result().Cookies()) != 0 {
			t.Error("a known session got a new cookie")
		}
	}
	get(s, "/doc/people/api/query", "Cookie", cookie)
	w = get(s, "/doc/people", "Cookie", cookie)
	if !bytes.Contains(w.Body.Bytes(), []byte(`<dd id="requests">6</dd>`)) {
		t.Errorf("the sixth request is not counted: %s", stable(w.Body.String()))
	}
	get(s, "/healthz")
	get(s, engine.DefaultPrefix+"load")
	c := decode[Counters](t, get(s, "/counters").Body)
	if c.Requests != 6 || c.Sessions != 1 || c.SessionsCreated != 1 || c.Loads["people"].Rows != 3 {
		t.Errorf("counters %+v", c)
	}
}

func TestQueryAPI(t *testing.T) {
	s, _ := newServer(t, map[string]string{"people": people}, still)
	w := get(s, "/doc/people/api/query?filter=team:red&sum=age&limit=1")
	golden(t, "query.json", w.Body.String())
	wantProblem(t, get(s, "/doc/people/api/query?sum=team"), 400, engine.CodeBadRequest)
	if len(w.Result().Cookies()) != 0 {
		t.Error("a call of the API made a session")
	}
}

func TestOptionsRefused(t *testing.T) {
	if _, err := New(Options{Dir: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing directory: got %v", err)
	}
	if _, err := New(Options{Dir: t.TempDir(), SessionIdle: -1}); err == nil {
		t.Error("a negative idle time was taken")
	}
	if _, err := New(Options{Dir: t.TempDir(), SecretFile: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing secret: got %v", err)
	}
}

package door

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestPatterns(t *testing.T) {
	cases := []struct {
		pattern string
		target  string
		header  http.Header
		want    string
	}{
		{"/doc/{document}", "/doc/sales", nil, "sales"},
		{"/doc/{document}", "/doc/sales/sheet/1?x=y", nil, "sales"},
		{"/doc/{document}/...", "/doc/sales/sheet", nil, "sales"},
		{"/doc/{document}", "/doc/", nil, ""},
		{"/doc/{document}", "/doc", nil, ""},
		{"/doc/{document}", "/docs/sales", nil, ""},
		{"/doc/{document}", "/x/doc/sales", nil, ""},
		{"/doc/{document}", "/doc/a%2Fb%20c", nil, "a/b c"},
		{"/*/app/{document}", "/eu/app/sales", nil, "sales"},
		{"/{document}/view", "/sales/view", nil, "sales"},
		{"/{document}/view", "/sales/edit", nil, ""},
		{"?app={document}", "/hub?x=1&app=sales%20eu&app=2", nil, "sales eu"},
		{"?app={document}", "/hub?application=sales", nil, ""},
		{"?app={document}", "/hub?%61pp=sales", nil, "sales"},
		{"?app={document}", "/hub?app=%zz&app=ok", nil, "ok"},
		{"X-Doc: {document}", "/", http.Header{"X-Doc": {" sales "}}, "sales"},
		{"x-doc:{document}", "/", http.Header{"X-Doc": {"sales"}}, "sales"},
	}
	for _, c := range cases {
		t.Run(c.pattern+" "+c.target, func(t *testing.T) {
			p, err := ParsePattern(c.pattern)
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.ParseRequestURI(c.target)
			if err != nil {
				t.Fatal(err)
			}
			if got := documentKey([]Pattern{p}, u, c.header); got != c.want {
				t.Errorf("document %q, want %q", got, c.want)
			}
		})
	}
}

func TestPatternOrderAndLength(t *testing.T) {
	a, _ := ParsePattern("?app={document}")
	b, _ := ParsePattern("/doc/{document}")
	u, _ := url.ParseRequestURI("/doc/one?app=two")
	if got := documentKey([]Pattern{a, b}, u, nil); got != "two" {
		t.Errorf("the first pattern gave %q", got)
	}
	u, _ = url.ParseRequestURI("/doc/" + strings.Repeat("x", 4000))
	if got := documentKey([]Pattern{b}, u, nil); len(got) > maxDocumentKey || !strings.HasPrefix(got, "sha256-") {
		t.Errorf("a long key became %q", got)
	}
}

func TestBadPatterns(t *testing.T) {
	for _, s := range []string{
		"", "doc", "/doc", "/doc/{document}/{document}", "/doc//{document}", "/doc/x{document}", "/doc/{id}/{document}",
		"/do*c/{document}", "?{document}", "?=x{document}", "?a&b={document}", "X Doc: {document}", ": {document}", "{document}", "X-Doc: a {document}",
	} {
		if p, err := ParsePattern(s); err == nil {
			t.Errorf("%q was read as %q", s, p)
		}
	}
}

func TestDefaultPattern(t *testing.T) {
	p := DefaultSettings().Session.Documents
	if len(p) != 1 || p[0].String() != "/doc/{document}" {
		t.Fatalf("default patterns: %v", p)
	}
	u, _ := url.ParseRequestURI("/doc/sales/x")
	if got := documentKey(p, u, nil); got != "sales" {
		t.Errorf("document %q", got)
	}
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"/doc/{document}/...", "?app={document}", "X-Doc: {document}", "/*/{document}/x"} {
		f.Add(s, "/doc/a/x?app=b")
	}
	f.Fuzz(func(t *testing.T, s, target string) {
		p, err := ParsePattern(s)
		if err != nil {
			return
		}
		again, err := ParsePattern(p.String())
		if err != nil || again.String() != p.String() {
			t.Fatalf("%q is written %q, which reads as %q, %v", s, p, again, err)
		}
		if u, err := url.ParseRequestURI(target); err == nil {
			if key := documentKey([]Pattern{p}, u, http.Header{}); len(key) > maxDocumentKey {
				t.Fatalf("key of %d bytes", len(key))
			}
		}
	})
}

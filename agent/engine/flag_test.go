package engine

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
)

func TestParseFlag(t *testing.T) {
	type want struct {
		Name, URL string
		Builtin   bool
	}
	tests := map[string]struct {
		in      string
		want    want
		wantErr string
	}{
		"url":                {in: "http://127.0.0.1:3838", want: want{"127-0-0-1-3838", "http://127.0.0.1:3838", false}},
		"named":              {in: "shiny=http://127.0.0.1:3838/", want: want{"shiny", "http://127.0.0.1:3838", false}},
		"default port":       {in: "http://localhost", want: want{"localhost-80", "http://localhost:80", false}},
		"https port":         {in: "https://bi.example.com", want: want{"bi-example-com-443", "https://bi.example.com:443", false}},
		"upper case":         {in: "http://BI_1.Example:8080", want: want{"bi-1-example-8080", "http://BI_1.Example:8080", false}},
		"ipv6":               {in: "http://[::1]:3838", want: want{"1-3838", "http://[::1]:3838", false}},
		"ipv6 any":           {in: "http://[::]:3838", want: want{"host-3838", "http://[::]:3838", false}},
		"long host":          {in: "http://" + strings.Repeat("a", 80) + ":80", want: want{strings.Repeat("a", 60) + "-80", "http://" + strings.Repeat("a", 80) + ":80", false}},
		"builtin":            {in: "builtin", want: want{"builtin", "", true}},
		"named builtin":      {in: "demo=builtin", want: want{"demo", "", true}},
		"equals in query":    {in: "http://h:1/?a=b", wantErr: "no query or fragment"},
		"empty":              {in: "", wantErr: "give a URL"},
		"empty url":          {in: "a=", wantErr: "give a URL"},
		"empty name":         {in: "=http://h:1", wantErr: `name ""`},
		"bad name":           {in: "My_Engine=http://h:1", wantErr: `name "My_Engine"`},
		"no scheme":          {in: "127.0.0.1:3838", wantErr: "did you mean http://127.0.0.1:3838"},
		"other scheme":       {in: "ftp://h:1", wantErr: `scheme "ftp"`},
		"no host":            {in: "http://:80", wantErr: "names no host"},
		"path":               {in: "http://h:1/app", wantErr: `URL path "/app"`},
		"fragment":           {in: "http://h:1#x", wantErr: "no query or fragment"},
		"password":           {in: "http://u:p@h:1", wantErr: "user or password"},
		"port zero":          {in: "http://h:0", wantErr: `port "0"`},
		"port too large":     {in: "http://h:70000", wantErr: `port "70000"`},
		"too long":           {in: strings.Repeat("x", 3000), wantErr: "longer than"},
		"control characters": {in: "http://h\n:1", wantErr: "engine"},
		"none is not for us": {in: "none", wantErr: "no scheme"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			cfg, err := ParseFlag(tc.in)
			if tc.wantErr != "" {
				if err == nil {
					t.Fatalf("ParseFlag(%q) = %+v, want an error", tc.in, cfg)
				}
				if !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error %q does not say %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := want{Name: cfg.Name, Builtin: cfg.Builtin}
			if cfg.URL != nil {
				got.URL = cfg.URL.String()
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzParseFlag(f *testing.F) {
	for _, s := range []string{"builtin", "a=builtin", "http://h:1", "a=https://[::1]:2/", "http://%41:1", "http://h:1?x=y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		cfg, err := ParseFlag(s)
		if err != nil {
			return
		}
		if !peer.ValidName(cfg.Name) {
			t.Errorf("%q: accepted with the invalid name %q", s, cfg.Name)
		}
		if cfg.Builtin != (cfg.URL == nil) {
			t.Errorf("%q: builtin %v with URL %v", s, cfg.Builtin, cfg.URL)
		}
		if cfg.URL == nil {
			return
		}
		if _, err := cfg.normalize(); err != nil {
			t.Errorf("%q: accepted, but New would say: %v", s, err)
		}
		again, err := ParseFlag(cfg.Name + "=" + cfg.URL.String())
		if err != nil || again.Name != cfg.Name || again.URL.String() != cfg.URL.String() {
			t.Errorf("%q: does not survive a round trip: %+v, %v", s, again, err)
		}
	})
}

func TestConfigRefused(t *testing.T) {
	good := func() Config {
		cfg, err := ParseFlag("shiny=http://127.0.0.1:3838")
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	tests := map[string]struct {
		change func(*Config)
		want   string
	}{
		"no url":          {func(c *Config) { c.URL = nil }, "no URL"},
		"name":            {func(c *Config) { c.Name = "a/b" }, "engine name"},
		"host header":     {func(c *Config) { c.HostHeader = "a\r\nX:y" }, "host header"},
		"probe path":      {func(c *Config) { c.Health.Path = "/a b" }, "path"},
		"probe injection": {func(c *Config) { c.Health.Path = "/ HTTP/1.1\r\nX: y" }, "path"},
		"probe kind":      {func(c *Config) { c.Health.Kind = "udp" }, "kind"},
		"probe status":    {func(c *Config) { c.Health.Status = 42 }, "status"},
		"prefix":          {func(c *Config) { c.API.Prefix = "/x" }, "prefix"},
		"max sessions":    {func(c *Config) { c.MaxSessions = -1 }, "max sessions"},
	}
	if _, err := good().normalize(); err != nil {
		t.Fatalf("the unchanged configuration is refused: %v", err)
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := good()
			tc.change(&cfg)
			if _, err := cfg.normalize(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one that says %q", err, tc.want)
			}
		})
	}
}

package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func rootFacts() Facts {
	return Facts{Root: true, UserDir: "/root/.local/share", Hostname: "bi-1.example.com"}
}

func load(t *testing.T, text string) Layer {
	t.Helper()
	l, err := Load("usher.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestEveryFieldCanBeSetByEverySource(t *testing.T) {
	// The duration fields need a duration, switches one of two words, the rest takes any text.
	value := func(f Field) string {
		if f.Switch() {
			return "true"
		}
		if _, ok := f.at(new(Config)).(*time.Duration); ok {
			return "7s"
		}
		return "v"
	}
	for _, f := range Fields() {
		t.Run(f.Key, func(t *testing.T) {
			file := f.Key + ": " + value(f)
			if section, name, ok := strings.Cut(f.Key, "."); ok {
				file = section + ":\n  " + name + ": " + value(f)
			}
			layers := map[Origin]Layer{
				Origin("--" + f.Flag): Flags(map[string][]string{f.Flag: {value(f)}}),
				Origin(f.Env):         Environment(func(k string) (string, bool) { return value(f), k == f.Env }),
				"usher.yaml":          load(t, file),
			}
			for origin, l := range layers {
				c, origins, err := Merge(l, Defaults(rootFacts()))
				if err != nil {
					t.Fatal(err)
				}
				if got := f.texts(c); !slices.Equal(got, []string{value(f)}) {
					t.Errorf("from %s: got %q", origin, got)
				}
				if !strings.HasPrefix(string(origins[f.Key]), string(origin)) {
					t.Errorf("origin %q, want %q", origins[f.Key], origin)
				}
			}
		})
	}
}

func TestNamesAreDistinct(t *testing.T) {
	seen := map[string]string{}
	for _, f := range Fields() {
		for _, name := range []string{f.Key, "--" + f.Flag, f.Env} {
			if other, twice := seen[name]; twice {
				t.Errorf("%s names %s and %s", name, other, f.Key)
			}
			seen[name] = f.Key
		}
		if f.Help == "" || f.Value == "" || !strings.HasPrefix(f.Env, "USHER_") {
			t.Errorf("%s lacks help, a value's name or a variable", f.Key)
		}
	}
}

func TestMergePrecedence(t *testing.T) {
	flags := Flags(map[string][]string{"bind": {":1"}})
	env := Environment(func(k string) (string, bool) {
		v, ok := map[string]string{"USHER_BIND": ":2", "USHER_DOOR": ":2", "USHER_JOIN": " a , b:1,", "USHER_NAME": ""}[k]
		return v, ok
	})
	file := load(t, "cluster: {bind: ':3', join: [x, y, z]}\ndoor: {listen: ':3'}\nnode: {name: file}\n")
	c, origins, err := Merge(flags, env, file, Defaults(rootFacts()))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		DataDir: "/var/lib/usher",
		Node:    Node{Name: "file"},
		Cluster: Cluster{Bind: ":1", Join: []string{"a", "b:1"}, ElectionTimeout: 500 * time.Millisecond},
		Door:    Door{Listen: ":2"},
		API:     API{Listen: "127.0.0.1:14748", Socket: "/run/usher/usher.sock"},
		Engine:  Engine{Health: "/"},
		Log:     Log{Level: "info", Format: "json"},
		Stop:    Stop{Timeout: 30 * time.Second},
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	wantOrigins := map[string]Origin{
		"cluster.bind": "--bind", "door.listen": "USHER_DOOR", "cluster.join": "USHER_JOIN", "node.name": "usher.yaml:3", "log.level": "",
	}
	for key, want := range wantOrigins {
		if origins[key] != want {
			t.Errorf("%s is from %q, want %q", key, origins[key], want)
		}
	}
}

func TestSocketFollowsTheDataDirectory(t *testing.T) {
	user := Facts{UserDir: "/home/ada/.local/share"}
	service := Facts{StateDir: "/var/lib/usher", RuntimeDir: "/run/usher"}
	dir, socket := map[string][]string{"data-dir": {"/srv/a"}}, map[string][]string{"data-dir": {"/srv/a"}, "socket": {"/tmp/s"}}
	tests := []struct {
		name  string
		facts Facts
		flags map[string][]string
		want  string
	}{
		{"system", rootFacts(), nil, "/run/usher/usher.sock"},
		{"system, own directory", rootFacts(), dir, "/srv/a/usher.sock"},
		{"user", user, nil, "/home/ada/.local/share/usher/usher.sock"},
		{"user, own directory", user, dir, "/srv/a/usher.sock"},
		{"service manager", service, nil, "/run/usher/usher.sock"},
		{"service manager, own directory", service, dir, "/run/usher/usher.sock"},
		{"said", rootFacts(), socket, "/tmp/s"},
		{"off", rootFacts(), map[string][]string{"socket": {"off"}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _, err := Merge(Flags(tt.flags), Defaults(tt.facts))
			if err != nil {
				t.Fatal(err)
			}
			if filepath.ToSlash(c.API.Socket) != tt.want {
				t.Errorf("socket %q, want %q", c.API.Socket, tt.want)
			}
		})
	}
}

func TestWordsThatTurnThingsOff(t *testing.T) {
	c, _, err := Merge(Flags(map[string][]string{"api": {"off"}, "engine": {"none"}}), Defaults(rootFacts()))
	if err != nil {
		t.Fatal(err)
	}
	if c.API.Listen != "" || c.HasEngines() || c.Engines != nil {
		t.Errorf("api %q, engines %q", c.API.Listen, c.Engines)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestNodeName(t *testing.T) {
	for in, want := range map[string]string{
		"bi-1.example.com": "bi-1", "BI_2": "bi-2", "": "", "---": "", "_x_": "x",
		strings.Repeat("a", 80): strings.Repeat("a", 63), "säule": "s-ule",
	} {
		if got := NodeName(in); got != want {
			t.Errorf("NodeName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPrint(t *testing.T) {
	file := load(t, "cluster:\n  join: [10.0.0.1, 10.0.0.2]\nengines:\n  - builtin\n  - shiny=http://ada:geheim@127.0.0.1:3838\nengine: {documents: /srv/docs}\n")
	flags := Flags(map[string][]string{"name": {"n1"}, "api": {"off"}})
	c, origins, err := Merge(flags, file, Defaults(rootFacts()))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := c.Print(&b, origins); err != nil {
		t.Fatal(err)
	}
	golden(t, "print.yaml", b.String())
	if strings.Contains(b.String(), "geheim") {
		t.Error("the password is shown")
	}
}

// What is printed, read back, is the same configuration.
func TestPrintLoadsBack(t *testing.T) {
	flags := map[string][]string{}
	for _, f := range Fields() {
		if f.Many {
			flags[f.Flag] = []string{"a: b", "#c", "12"}
		} else if f.Flag == "stop-timeout" || f.Flag == "election-timeout" {
			flags[f.Flag] = []string{"1m1s"}
		} else if f.Switch() {
			flags[f.Flag] = []string{"true"}
		} else {
			flags[f.Flag] = []string{"yes # no: " + f.Flag}
		}
	}
	c, origins, err := Merge(Flags(flags), Defaults(rootFacts()))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := c.Print(&b, origins); err != nil {
		t.Fatal(err)
	}
	back, _, err := Merge(load(t, b.String()), Defaults(rootFacts()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, back); diff != "" {
		t.Errorf("printed and read back (-printed +read):\n%s\n%s", diff, &b)
	}
}

func TestValidateGolden(t *testing.T) {
	entries, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(entries) == 0 {
		t.Fatal("no cases", err)
	}
	for _, path := range entries {
		name := filepath.Base(path)
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("bad", strings.TrimSuffix(name, ".yaml")+".txt"), complaint(name, text))
		})
	}
}

// complaint is what the command shows for a bad file.
func complaint(name string, text []byte) string {
	l, err := Load(name, text)
	if err != nil {
		return err.Error() + "\n"
	}
	c, origins, err := Merge(l, Defaults(rootFacts()))
	if err != nil {
		return err.Error() + "\n"
	}
	var p Problems
	if errors.As(c.Validate(), &p) {
		return p.Locate(origins).Error() + "\n"
	}
	return "valid\n"
}

func TestReadFileNamesTheFile(t *testing.T) {
	_, err := ReadFile(filepath.Join(t.TempDir(), "absent.yaml"))
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "absent.yaml") {
		t.Error(err)
	}
	big := filepath.Join(t.TempDir(), "big.yaml")
	if err := os.WriteFile(big, bytes.Repeat([]byte("# filler\n"), MaxFileBytes/8), 0o600); err != nil {
		t.Fatal(err)
	}
	var p Problems
	if _, err := ReadFile(big); !errors.As(err, &p) {
		t.Error("a huge file was read:", err)
	}
}

func FuzzLoad(f *testing.F) {
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	for _, path := range append(files, "testdata/print.yaml") {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("&a [*a]"))
	f.Add([]byte("? [a]\n: b"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := Load("f", text)
		if err != nil {
			return
		}
		c, origins, err := Merge(l, Defaults(Facts{}))
		if err != nil {
			return
		}
		_ = c.Validate()
		var b bytes.Buffer
		if err := c.Print(&b, origins); err != nil {
			t.Fatal(err)
		}
		l2, err := Load("g", b.Bytes())
		if err != nil {
			t.Fatalf("%v\nprinted:\n%s", err, &b)
		}
		// Masked passwords do not come back.
		if back, _, err := Merge(l2, Defaults(Facts{})); err != nil || !strings.Contains(string(text), "://") && !cmp.Equal(c, back) {
			t.Fatalf("%v\nprinted:\n%s\n%s", err, &b, cmp.Diff(c, back))
		}
	})
}

package main

import (
	"errors"
	"strings"
	"testing"
)

func TestParseHead(t *testing.T) {
	const diff = "diff --git a/x b/x\n"
	for _, c := range []struct {
		name, text string
		want       mutant
		ok         bool
	}{
		{"whole", "Bug: b: c\nPromise: p\nTest: agent/door TestToken\n\n" + diff + "Test: not ours\n", mutant{bug: "b: c", promise: "p", pkg: "agent/door", test: "TestToken"}, true},
		{"a subtest", "Test: fsm TestX/one_case\nBug: b\nPromise: p\n" + diff, mutant{bug: "b", promise: "p", pkg: "fsm", test: "TestX/one_case"}, true},
		{"no bug", "Promise: p\nTest: fsm TestX\n" + diff, mutant{}, false},
		{"no promise", "Bug: b\nTest: fsm TestX\n" + diff, mutant{}, false},
		{"no test", "Bug: b\nPromise: p\n" + diff, mutant{}, false},
		{"a test without a package", "Bug: b\nPromise: p\nTest: TestX\n" + diff, mutant{}, false},
		{"no test at all", "Bug: b\nPromise: p\nTest: fsm ExampleX\n" + diff, mutant{}, false},
		{"twice", "Bug: b\nBug: c\nPromise: p\nTest: fsm TestX\n" + diff, mutant{}, false},
		{"empty", "Bug: \nPromise: p\nTest: fsm TestX\n" + diff, mutant{}, false},
		{"something else", "Bug: b\nWhy: because\nPromise: p\nTest: fsm TestX\n" + diff, mutant{}, false},
		{"no patch", "Bug: b\nPromise: p\nTest: fsm TestX\n", mutant{}, false},
		{"nothing", "", mutant{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseHead(strings.NewReader(c.text))
			if c.ok != (err == nil) || !c.ok && !errors.Is(err, errHead) || c.ok && got != c.want {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func FuzzParseHead(f *testing.F) {
	f.Add("Bug: b\nPromise: p\nTest: agent/door TestToken\n\ndiff --git a/x b/x\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseHead(strings.NewReader(text))
		if err == nil && (m.bug == "" || m.promise == "" || m.pkg == "" || m.test == "") {
			t.Errorf("%+v", m)
		}
	})
}

func TestNames(t *testing.T) {
	m := mutant{name: "door-cookie-seal", test: "TestToken/a_case"}
	if m.area() != "door" || m.testFunc() != "TestToken" || m.pattern() != "^TestToken$/^a_case$" {
		t.Errorf("%s, %s, %s", m.area(), m.testFunc(), m.pattern())
	}
	all := []mutant{{name: "door-a"}, {name: "door-b"}, {name: "fsm-a"}}
	for _, c := range []struct {
		only string
		want int
	}{{"", 3}, {"door-*", 2}, {"door-a", 1}, {"door-a,fsm-*", 2}, {"door", 0}} {
		o, err := parse([]string{"--only", c.only}, &strings.Builder{})
		if err != nil {
			t.Fatal(err)
		}
		if got := choose(all, o.only); len(got) != c.want {
			t.Errorf("--only %q takes %d, want %d", c.only, len(got), c.want)
		}
	}
	for _, args := range [][]string{{"x"}, {"--only", "["}, {"--timeout", "0s"}, {"--list", "--check"}, {"--nonsense"}} {
		if _, err := parse(args, &strings.Builder{}); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

package night

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBook(t *testing.T) {
	b := bookOf("Say `usher status` first.\n\n```\nusher recover   # on the survivor\nusher join-token create --quiet --replace bi2 > join.token\n```\nusher not-code\n")
	for line, want := range map[string]bool{"usher status": true, "usher recover": true, "usher not-code": false, "usher recover --yes": false} {
		if err := b.has(line); (err == nil) != want {
			t.Errorf("%s: %v", line, err)
		}
	}
	got, err := b.arguments("usher join-token create --quiet --replace bi2 > join.token", map[string]string{"bi2": "n3"})
	if want := []string{"join-token", "create", "--quiet", "--replace", "n3"}; err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestTheBookIsTheRunbook: the nights use lines of the page as it is.
func TestTheBookIsTheRunbook(t *testing.T) {
	b, err := readBook("../../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines() {
		if err := b.has(line); err != nil {
			t.Error(err)
		}
	}
}

const recovers = `cluster                 laboratory
this server             n2
its log ends at         index 812, term 3
its state is            revision 790 of 2026-11-23T04:05:06Z (3 s ago)
state as found goes to  /x/before-recovery-20261123T040509

OTHER SERVER  ADDRESS           ROLE   ANSWERS  SEEN
n1            10.213.1.1:14747  voter  no       no route
n3            10.213.1.3:14747  voter  yes      revision 7

What was acknowledged after revision 790, and came only to servers that are lost, is lost.
`

func TestSaid(t *testing.T) {
	at := time.Date(2026, 11, 23, 4, 5, 6, 0, time.UTC)
	got, err := saidByRecover(recovers)
	if err != nil || got != (said{790, at}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := saidByRecover(strings.Replace(recovers, "after revision 790", "after revision 791", 1)); err == nil {
		t.Error("two revisions were said")
	}
	got, err = saidByInspect("file  x\nrevision     790\nlast change  2026-11-23T04:05:06Z (1 s ago)\n")
	if err != nil || got != (said{790, at}) {
		t.Errorf("%+v, %v", got, err)
	}
	env, args, err := joining("a\n\n  USHER_JOIN_TOKEN=ujt_x usher agent --join 10.0.0.1:14747\n")
	if err != nil || !cmp.Equal(env, []string{"USHER_JOIN_TOKEN=ujt_x"}) || !cmp.Equal(args, []string{"--join", "10.0.0.1:14747"}) {
		t.Errorf("%v, %v, %v", env, args, err)
	}
	rows := cellsOf(recovers, "OTHER SERVER")
	if len(rows) != 2 || rows[1][0] != "n3" || rows[1][3] != "yes" || rows[0][4] != "no route" {
		t.Errorf("%q", rows)
	}
}

func TestJudge(t *testing.T) {
	began := time.Date(2026, 11, 23, 4, 5, 0, 0, time.UTC)
	ack := func(k kind, name, value string, revision uint64) try {
		at := began.Add(time.Duration(revision) * time.Second)
		return try{Kind: k, Name: name, Value: value, Revision: revision, OK: true, Begin: at, End: at}
	}
	tries := []try{
		ack(aTask, "a", "1h", 3), ack(aToken, "b", "viewer", 5), ack(aTask, "c", "3h", 9),
		ack(aSetting, "k", "1", 2), ack(aSetting, "k", "2", 4), ack(aSetting, "k", "3", 8),
		{Kind: aSetting, Name: "k", Value: "4"},
	}
	is := func(k row, tasks ...string) found {
		f := found{aTask: {}, aToken: {"b": {Value: "viewer"}}, aSetting: {"k": k}}
		for _, name := range tasks {
			f[aTask][name] = row{Value: map[string]string{"a": "1h", "c": "3h"}[name]}
		}
		return f
	}
	at5, at9 := said{5, began.Add(5 * time.Second)}, said{5, began.Add(9*time.Second + time.Millisecond)}
	for _, tc := range []struct {
		name string
		is   found
		said said
		lost int
		want string // in the first fault; "" for none
	}{
		{"all is there", is(row{"3", 8}, "a", "c"), said{}, 0, ""},
		{"a later write that nobody knows of", is(row{"4", 11}, "a", "c"), said{}, 0, ""},
		{"the end is lost, as was said", is(row{"2", 4}, "a"), at5, 2, ""},
		{"the end is lost, which nobody said", is(row{"3", 8}, "a"), said{}, 0, "nobody had said so"},
		{"a setting's end is lost, which nobody said", is(row{"2", 4}, "a", "c"), said{}, 0, "later ones were acknowledged"},
		{"more is lost than was said", is(row{"2", 4}), at5, 2, "nobody had said so"},
		{"more of a setting is lost than was said", is(row{"1", 2}, "a"), at5, 2, "later ones were acknowledged"},
		{"less is lost than was said", is(row{"2", 4}, "a", "c"), at5, 2, "and is there"},
		{"less of a setting is lost than was said", is(row{"3", 8}, "a"), at5, 2, "was said to lose it"},
		{"another value", is(row{"9", 8}, "a", "c"), said{}, 0, "k is 9"},
		{"what nobody wrote", is(row{"9", 12}, "a", "c"), said{}, 0, "nobody wrote"},
		{"a wrong time", is(row{"2", 4}, "a"), at9, 2, "the last change that is kept"},
		{"too early a time", is(row{"2", 4}, "a"), said{5, began.Add(2 * time.Second)}, 2, "the last such change"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := judge(tries, tc.is, tc.said)
			if v.Acknowledged != 6 || v.Lost != tc.lost {
				t.Errorf("%d of %d lost", v.Lost, v.Acknowledged)
			}
			if (tc.want == "") != (len(v.Wrong) == 0) || tc.want != "" && !strings.Contains(v.Wrong[0], tc.want) {
				t.Errorf("%q, want %q", v.Wrong, tc.want)
			}
		})
	}
}

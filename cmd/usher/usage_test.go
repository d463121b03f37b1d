package main

import (
	"io"
	"strings"
	"testing"
)

func TestUsageGolden(t *testing.T) {
	lines := []string{
		"", "help", "--help", "help node drain", "node drain --help", "node --help", "setting set -h", "demo --help", "agent --help",
		"stauts", "node lst", "node", "node frobnicate", "status extra", "node show", "task add", "setting set log.level", "join",
		"status --adress x", "node drain n --dead-line 3s", "status --qqqqqqqqqq", "--name x init", "status --output xml", "status --output",
		"status --timeout soon", "status --timeout 0s", "status --timeout 9ms", "node set bi-1", "node set bi-1 --weight heavy", "task add x --document d",
		"task add x --every 1h", "task add x --document d --every 1h --cron '* * * * *'", "task add x --document d --every 1h --start soon",
		"completion tcsh", "engine", "engine --documents /absent/dir", "demo --nodes 10", "demo extra", "demo --port-base 80",
		"status --address ftp://x", "node drain n --deadline -3s", "node drain", "node drain n --self", "node drain n --detach --then-standby", "node activate", "node drain n --deadline 0s", "node drain n --deadline 9999h --detach",
		"node set n --weight 0", "node set n --priority -1", "join-token create --uses 0", "join-token create --uses -1", "join-token create --uses 1001",
		"join-token create --ttl 9000h", "join-token create --ttl 0s", "token create a --ttl 99999h", "token create a --ttl -1s",
		"setting history --limit 0", "setting history --limit -4", "task history t --limit 1001", "task add x --document d --every 0s",
		"task add x --document d --every 1h --attempts 0", "task add x --document d --every 1h --attempt-timeout 200h",
		"task add x --document d --every 1h --catch-up 1000h", "task add x --document d --every 1h --start 2201-01-01T00:00:00Z",
		"task add x --document " + strings.Repeat("d", 129) + " --every 1h",
		"session show k3x", "session close e8de93a", "session show e8de93a0c2168e61b0b1b2b3b4b5b6b7f",
		"setting set log.level -1", "setting set log.level --timout 3s", "setting set -x", "session list --cursor x", "version --output json", "version", "--version",
	}
	var b strings.Builder
	for _, line := range lines {
		f := newFixture(t)
		f.vars["USHER_ADDRESS"] = "http://127.0.0.1:1"
		args := strings.Fields(strings.ReplaceAll(line, "'* * * * *'", "*****"))
		code, out, err := f.do(args...)
		b.WriteString(transcript(args, code, out, err, "") + "\n")
		if code == exitUsage && !strings.Contains(err, "next: ") {
			t.Errorf("usher %s: a usage error without the next step:\n%s", line, err)
		}
	}
	golden(t, "usage.txt", b.String())
}

func TestDocumentNames(t *testing.T) {
	for name, want := range map[string]bool{
		"sales": true, "Jahresbericht 2030/Größe": true, strings.Repeat("d", 128): true,
		strings.Repeat("d", 129): false, "a\x00b": false, "a\nb": false, "a\x7f": false, "a\u0085": false, "a\xff": false,
	} {
		f, api := newFixture(t), newFakeAPI(t)
		api.fill()
		f.vars["USHER_ADDRESS"] = api.URL
		code, _, err := f.do("task", "add", "nightly", "--every", "1h", "--document", name)
		if sent := api.requests() != ""; want != (code == 0) || want != sent || !want && code != exitUsage {
			t.Errorf("%q: exit %d, sent: %v: %s", name, code, sent, err)
		}
	}
}

// Flags may stand anywhere behind their command, those of the program anywhere.
func TestArrange(t *testing.T) {
	f := newFixture(t)
	tests := map[string]string{
		"status --output json":                    "usher --output=json status",
		"--output=json status":                    "usher --output=json status",
		"node show bi-1 --output json":            "usher --output=json node show -- bi-1",
		"node remove bi-1 --yes --force=false":    "usher node remove --yes --force=false -- bi-1",
		"node remove -- --yes":                    "usher node remove -- --yes",
		"setting import - --reset":                "usher setting import --reset -- -",
		"status --token-file -":                   "usher --token-file=- status",
		"node show help":                          "usher node show -- help",
		"agent -engine a=b --engine http://x/?,":  "usher agent --engine=a=b --engine=http://x/?,",
		"demo env --port-base 1 --timeout 3s":     "usher --timeout=3s demo env --port-base=1",
		"setting set k --timeout 3s v":            "usher --timeout=3s setting set -- k v",
		"task add t --document -x --every 1h -- ": "usher task add --document=-x --every=1h -- t",
	}
	for in, want := range tests {
		l, err := arrange(f.globals(), f.commands(), strings.Fields(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := strings.Join(l.argv(), " "); got != want {
			t.Errorf("%s\n got  %s\n want %s", in, got, want)
		}
	}
}

func FuzzArrange(f *testing.F) {
	f.Add("node remove bi-1 --yes")
	f.Add("--output json setting set a b -- c")
	f.Add("agent --engine= -- --")
	p := &program{stdout: io.Discard, stderr: io.Discard}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := arrange(p.globals(), p.commands(), strings.Split(s, " "))
		if err != nil {
			if e := explain(err); e.code != exitUsage || e.next == "" {
				t.Errorf("%q: exit %d, next %q", s, e.code, e.next)
			}
			return
		}
		again, err := arrange(p.globals(), p.commands(), l.argv()[1:])
		if err != nil || strings.Join(again.argv(), "\x00") != strings.Join(l.argv(), "\x00") {
			t.Errorf("%q: arranged twice it is another line: %q, %q, %v", s, l.argv(), again.argv(), err)
		}
	})
}

package world

import (
	"strings"
	"testing"
	"time"
)

func TestLinesOf(t *testing.T) {
	text := `{"level":"info","time":"2026-11-23T03:00:00.123Z","term":4,"message":"this node is the central node now"}
panic: not a line of ours
{"level":"info","time":"2026-11-23T03:00:01Z","term":5,"message":"something else"}
{"level":"info","peer":"x","time":"2026-11-23T03:00:02Z","term":4,"message":"the central node's process is gone"}
{"level":"info","time":"2026-11-23T03:0`
	got, err := linesOf(strings.NewReader(text), []string{Leads, Gone})
	if err != nil || len(got) != 2 || got[0].Message != Leads || got[0].Term != 4 || got[1].Message != Gone {
		t.Fatalf("%+v, %v", got, err)
	}
	if d := got[1].At.Sub(got[0].At); d != 1877*time.Millisecond {
		t.Errorf("%v between them", d)
	}
}

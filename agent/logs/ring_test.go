package logs

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

func TestRingKeepsTheLastLines(t *testing.T) {
	var r Ring
	if lines, before := r.Lines(); len(lines) != 0 || before != 0 {
		t.Fatalf("an empty ring has %d lines and lost %d", len(lines), before)
	}
	for i := range RingLines + 7 {
		fmt.Fprintf(&r, "line %d\n", i)
	}
	lines, before := r.Lines()
	if len(lines) != RingLines || before != 7 {
		t.Fatalf("%d lines and %d before them", len(lines), before)
	}
	for i, l := range lines {
		if want := fmt.Sprintf("line %d", i+7); string(l) != want {
			t.Fatalf("line %d is %q, want %q", i, l, want)
		}
	}
	fmt.Fprintln(&r, strings.Repeat("x", 3*ringLine))
	if lines, _ := r.Lines(); len(lines[RingLines-1]) != ringLine {
		t.Errorf("a long line is kept at %d bytes", len(lines[RingLines-1]))
	}
	if string(lines[0]) != "line 7" {
		t.Error("what Lines gave changed afterwards")
	}
}

func TestRingIsSafeForConcurrentUse(t *testing.T) {
	var r Ring
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range RingLines {
				fmt.Fprintln(&r, "line")
				if i%100 == 0 {
					r.Lines()
				}
			}
		})
	}
	all.Wait()
	if lines, before := r.Lines(); len(lines) != RingLines || before != 3*RingLines {
		t.Errorf("%d lines, %d before", len(lines), before)
	}
}

// Whatever people read, the ring gets JSON, and nothing below the level.
func TestLinesGoToTheRingAsJSON(t *testing.T) {
	for _, format := range []Format{JSON, Console} {
		var people bytes.Buffer
		var r Ring
		log, err := New(&people, format, NewLevel(zerolog.InfoLevel), func() time.Time { return time.Unix(0, 0) }, &r)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug().Msg("not this")
		log.Info().Str(Engine, "shiny").Msg("hello")
		lines, _ := r.Lines()
		want := `{"level":"info","engine":"shiny","time":"1970-01-01T00:00:00.000Z","message":"hello"}`
		if len(lines) != 1 || string(lines[0]) != want {
			t.Errorf("%s: the ring has %q", format, lines)
		}
		if !strings.Contains(people.String(), "hello") || (format == Console) == strings.HasPrefix(people.String(), "{") {
			t.Errorf("%s: people read %q", format, people.String())
		}
	}
}

package main

import (
	"slices"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const rest = " S 27861 27861 12898 0 -1 4194304 113 0 0 0 250 31 7 9 20 0 4 0 640950 3133440 360"
	for name, tc := range map[string]struct {
		text string
		want processStat
		bad  bool
	}{
		"plain":                   {text: "27868 (nginx)" + rest, want: processStat{parent: 27861, cpu: 2810 * time.Millisecond}},
		"blanks in the name":      {text: "27868 (nginx: worker pr)" + rest, want: processStat{parent: 27861, cpu: 2810 * time.Millisecond}},
		"parentheses in the name": {text: "27868 (a) R 1 (b)" + rest, want: processStat{parent: 27861, cpu: 2810 * time.Millisecond}},
		"no name":                 {text: "27868 nginx" + rest, bad: true},
		"cut off":                 {text: "27868 (nginx) S 1 2 3", bad: true},
		"no numbers":              {text: "27868 (nginx) S a b c d e f g h i j k l m n", bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat([]byte(tc.text))
			if (err != nil) != tc.bad || !tc.bad && got != tc.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestParseCore(t *testing.T) {
	const text = "cpu  339185 101073 179663 573340 12027 0 30837 11270 0 0\n" +
		"cpu0 100 10 20 800 50 1 2 17 0 0\n" +
		"cpu1 200 20 40 600 60 2 4 74 5 0\n" +
		"cpu10 1 1 1 1 1 1 1 1 1 1\n" +
		"intr 1 2 3\n"
	for name, tc := range map[string]struct {
		core int
		want coreTime
		bad  bool
	}{
		"first":  {0, coreTime{busy: 150 * tick, all: 1000 * tick}, false},
		"second": {1, coreTime{busy: 340 * tick, all: 1000 * tick}, false},
		"tenth":  {10, coreTime{busy: 6 * tick, all: 8 * tick}, false},
		"absent": {2, coreTime{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseCore([]byte(text), tc.core)
			if (err != nil) != tc.bad || got != tc.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestTaken(t *testing.T) {
	from := coreTime{busy: 10 * tick, all: 100 * tick}
	if got := (coreTime{busy: 85 * tick, all: 200 * tick}).taken(from); got != 0.75 {
		t.Errorf("got %v, want 0.75", got)
	}
	if got := from.taken(from); got != 0 {
		t.Errorf("within no time: got %v", got)
	}
}

func TestParseRSS(t *testing.T) {
	const text = "55e2fc7a2000-7ffcc2a77000 ---p 00000000 00:00 0                          [rollup]\nRss:                1672 kB\nPss:                 503 kB\n"
	got, err := parseRSS([]byte(text))
	if err != nil || got != 1672*1024 {
		t.Errorf("got %d, %v", got, err)
	}
	for name, text := range map[string]string{"absent": "Pss: 503 kB\n", "no number": "Rss: x kB\n", "another unit": "Rss: 1 MB\n"} {
		if got, err := parseRSS([]byte(text)); err == nil {
			t.Errorf("%s: got %d", name, got)
		}
	}
}

func TestFamily(t *testing.T) {
	parents := map[int]int{1: 0, 10: 1, 11: 10, 12: 10, 13: 12, 20: 1, 21: 20}
	got := family(10, parents)
	slices.Sort(got)
	if want := []int{10, 11, 12, 13}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

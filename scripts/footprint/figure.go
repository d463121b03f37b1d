package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/host"
)

// Goals.
const (
	goalRSS       = 50  // MB
	goalProcessor = 1   // % of a core
	goalBinary    = 30  // MB
	goalRestart   = 1.0 // seconds, at the median
)

const megabyte = 1e6

// measured is what was found.
type measured struct {
	binaryBytes int64
	rssBytes    uint64
	processor   float64 // part of one core, 0.01 is 1 %
	idle        time.Duration
	restarts    []time.Duration // at least one
}

// figure is one number and the most that it may be.
type figure struct {
	name  string
	value float64
	goal  float64
	unit  string
	note  string
}

func (f figure) missed() bool { return f.value > f.goal }

func (m measured) figures() []figure {
	sorted := slices.Sorted(slices.Values(m.restarts))
	return []figure{
		{"memory (RSS), idle", float64(m.rssBytes) / megabyte, goalRSS, "MB", ""},
		{"processor, idle", m.processor * 100, goalProcessor, "%", fmt.Sprintf("of one core, over %s", m.idle)},
		{"binary", float64(m.binaryBytes) / megabyte, goalBinary, "MB", "built with -trimpath -ldflags=\"-s -w\""},
		{"restart until a leader is known", median(sorted).Seconds(), goalRestart, "s",
			fmt.Sprintf("median of %d, the worst %.2f s", len(sorted), sorted[len(sorted)-1].Seconds())},
	}
}

// median is the upper one of an even number.
func median(sorted []time.Duration) time.Duration { return sorted[len(sorted)/2] }

var errMissed = errors.New("a goal was missed")

// report prints the figures; the error is errMissed when one is over its goal.
func report(w io.Writer, all []figure) error {
	var err error
	for _, f := range all {
		verdict := "ok"
		if f.missed() {
			verdict, err = "MISSED", errMissed
		}
		line := fmt.Sprintf("%-32s %7.2f %-2s  goal %5.2f %-2s  %-6s  %s", f.name, f.value, f.unit, f.goal, f.unit, verdict, f.note)
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
	return err
}

// thisMachine says on what the figures were taken.
func thisMachine(ctx context.Context) (string, error) {
	model := runtime.GOARCH
	if info, err := cpu.InfoWithContext(ctx); err == nil && len(info) > 0 && info[0].ModelName != "" {
		model = info[0].ModelName
	}
	kernel, err := host.KernelVersionWithContext(ctx)
	if err != nil {
		return "", fmt.Errorf("read the kernel's version: %w", err)
	}
	return fmt.Sprintf("%s, %d cores, %s %s", model, runtime.NumCPU(), runtime.GOOS, kernel), nil
}

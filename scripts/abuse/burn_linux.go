package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ushercluster/usher/scripts/bench"
)

// slice is how often what takes processor time does so: abusers are woken as often.
const slice = 5 * time.Millisecond

// burn takes a part of a core until in ends, and does nothing else.
func burn(text string, in io.Reader) error {
	share, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("read the part of a core: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	for began := time.Now(); ctx.Err() == nil; {
		until := ownTime() + time.Duration(share*float64(slice))
		for ownTime() < until {
		}
		wait := spared(time.Since(began), ownTime(), share)
		_ = bench.Sleep(ctx, max(wait, time.Millisecond)) // the loop sees why
	}
	return nil
}

// ownTime is the processor time of this process so far.
func ownTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		return 0 // the clock is always there
	}
	return time.Duration(ts.Nano())
}

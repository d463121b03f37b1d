package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc; the kernel shows all of them in hundredths.
const tick = 10 * time.Millisecond

var errProc = errors.New("the kernel shows something that is not understood")

// processStat is what counts of /proc/PID/stat.
type processStat struct {
	parent int
	cpu    time.Duration // user's and system's, of all threads
}

// parseStat reads /proc/PID/stat. The second field is the program's name in parentheses
// and may hold blanks and parentheses itself.
func parseStat(text []byte) (s processStat, err error) {
	i := bytes.LastIndexByte(text, ')')
	if i < 0 {
		return s, fmt.Errorf("read the stat of a process: %w", errProc)
	}
	fields := strings.Fields(string(text[i+1:]))
	if len(fields) < 13 {
		return s, fmt.Errorf("read the stat of a process: %w", errProc)
	}
	var user, system int64
	var errs [3]error
	s.parent, errs[0] = strconv.Atoi(fields[1])
	user, errs[1] = strconv.ParseInt(fields[11], 10, 64)
	system, errs[2] = strconv.ParseInt(fields[12], 10, 64)
	s.cpu = time.Duration(user+system) * tick
	return s, errors.Join(errs[:]...)
}

// coreTime is the time of a core so far.
type coreTime struct{ busy, all time.Duration }

// parseCore reads the line of one core in /proc/stat. Time that waited for a disk was
// idle; guests are counted among the user's. What the machine below took for others
// (steal) was not ours to use, so that it counts as busy.
func parseCore(text []byte, core int) (t coreTime, err error) {
	name := fmt.Sprintf("cpu%d", core)
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 9 || fields[0] != name {
			continue
		}
		for i, field := range fields[1:9] {
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return t, fmt.Errorf("read the times of core %d: %w", core, err)
			}
			d := time.Duration(n) * tick
			t.all += d
			if i != 3 && i != 4 { // idle, iowait
				t.busy += d
			}
		}
		return t, nil
	}
	return t, fmt.Errorf("read the times of core %d: %w", core, errProc)
}

// taken is the part of a core that was busy since then.
func (t coreTime) taken(since coreTime) float64 {
	if t.all == since.all {
		return 0
	}
	return float64(t.busy-since.busy) / float64(t.all-since.all)
}

// parseRSS reads the resident memory in /proc/PID/smaps_rollup, in bytes.
func parseRSS(text []byte) (int64, error) {
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "Rss:" && fields[2] == "kB" {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			return n * 1024, err
		}
	}
	return 0, fmt.Errorf("read the memory of a process: %w", errProc)
}

// family is pid and all processes below it, given the parent of each.
func family(pid int, parents map[int]int) []int {
	out := []int{pid}
	for i := 0; i < len(out); i++ {
		for child, parent := range parents {
			if parent == out[i] {
				out = append(out, child)
			}
		}
	}
	return out
}

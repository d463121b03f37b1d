package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"
)

// Cores: the proxy has one for itself.
const (
	proxyCore = 0
	loadCore  = 1
)

// mark is a moment with all that was counted until then.
type mark struct {
	at          time.Time
	pids        []int // of the proxy
	cpu         time.Duration
	proxy, load coreTime
	done        float64 // requests
}

// takeMark looks at the processes with these IDs and at those below them: some proxies
// have workers.
func takeMark(pids []int, done float64) (mark, error) {
	m := mark{done: done, pids: withChildren(pids)}
	for _, pid := range m.pids {
		s, err := readStat(pid)
		if err != nil {
			return m, fmt.Errorf("read the processor time of the proxy: %w", err)
		}
		m.cpu += s.cpu
	}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return m, fmt.Errorf("read the times of the cores: %w", err)
	}
	var err2 error
	m.proxy, err = parseCore(text, proxyCore)
	m.load, err2 = parseCore(text, loadCore)
	m.at = time.Now()
	return m, errors.Join(err, err2)
}

// between is what happened from one mark to another.
func between(from, to mark) (sample, error) {
	s := sample{
		Requests: to.done - from.done, Window: to.at.Sub(from.at), CPU: to.cpu - from.cpu,
		LoadCore: to.load.taken(from.load), ProxyCore: to.proxy.taken(from.proxy),
	}
	if !slices.Equal(from.pids, to.pids) {
		return s, fmt.Errorf("the proxy's processes were %v and are %v now: their processor time is not known", from.pids, to.pids)
	}
	if s.Requests <= 0 {
		return s, fmt.Errorf("nothing was answered within %s", s.Window)
	}
	return s, nil
}

func readStat(pid int) (processStat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return processStat{}, err
	}
	return parseStat(text)
}

func withChildren(pids []int) []int {
	parents := map[int]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return pids
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil { // else it has just ended
			parents[pid] = s.parent
		}
	}
	var out []int
	for _, pid := range pids {
		out = append(out, family(pid, parents)...)
	}
	slices.Sort(out)
	return out
}

// resident is the memory of the proxy in bytes.
func resident(pids []int) (int64, error) {
	var sum int64
	for _, pid := range withChildren(pids) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, fmt.Errorf("read the memory of the proxy: %w", err)
		}
		n, err := parseRSS(text)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

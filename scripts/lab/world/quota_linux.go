package world

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrNoQuota means that this machine has no controller for processor time that we may
// use.
var ErrNoQuota = errors.New("there is no cgroup controller for processor time here")

// cgroupRoots are where control groups for processor time may be: of version 2, and
// of version 1.
const (
	cgroupTwo   = "/sys/fs/cgroup"
	cgroupOne   = "/sys/fs/cgroup/cpu"
	quotaPeriod = 100 * time.Millisecond
)

// quota is a control group that bounds the processor time of what is in it.
type quota struct {
	dir string
	two bool
}

// quotaRoot is where groups can be made.
func quotaRoot() (dir string, two bool, err error) {
	if _, err := os.Stat(filepath.Join(cgroupOne, "cpu.cfs_quota_us")); err == nil {
		return cgroupOne, false, nil
	}
	text, err := os.ReadFile(filepath.Join(cgroupTwo, "cgroup.subtree_control"))
	if err == nil {
		for word := range strings.FieldsSeq(string(text)) {
			if word == "cpu" {
				return cgroupTwo, true, nil
			}
		}
	}
	return "", false, ErrNoQuota
}

func openQuota(name string) (*quota, error) {
	root, two, err := quotaRoot()
	if err != nil {
		return nil, err
	}
	q := &quota{dir: filepath.Join(root, name), two: two}
	if err := os.Mkdir(q.dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make control group: %w", err)
	}
	return q, nil
}

// set bounds the group to a share of one core; 0 takes the bound away.
func (q *quota) set(percent int) error {
	period := quotaPeriod.Microseconds()
	name, text := "cpu.cfs_quota_us", "-1"
	if percent > 0 {
		text = strconv.FormatInt(period*int64(percent)/100, 10)
	}
	if q.two {
		name = "cpu.max"
		if percent <= 0 {
			text = "max"
		}
		text += fmt.Sprintf(" %d", period)
	}
	if err := os.WriteFile(filepath.Join(q.dir, name), []byte(text), 0o600); err != nil {
		return fmt.Errorf("set quota: %w", err)
	}
	return nil
}

func (q *quota) add(pid int) error {
	if err := os.WriteFile(filepath.Join(q.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600); err != nil {
		return fmt.Errorf("put process %d under the quota: %w", pid, err)
	}
	return nil
}

// throttled is how often what is in the group had to wait.
func (q *quota) throttled() (int, error) {
	text, err := os.ReadFile(filepath.Join(q.dir, "cpu.stat"))
	if err != nil {
		return 0, fmt.Errorf("read quota: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(line, "nr_throttled "); ok {
			return strconv.Atoi(strings.TrimSpace(n))
		}
	}
	return 0, ErrNoQuota
}

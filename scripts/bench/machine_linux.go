package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/load"
	"golang.org/x/sys/unix"
)

// Machine says on what the figures were taken, and what else it did then.
func Machine(ctx context.Context) (string, error) {
	model := runtime.GOARCH
	if info, err := cpu.InfoWithContext(ctx); err == nil && len(info) > 0 && info[0].ModelName != "" {
		model = info[0].ModelName
	}
	kernel, err := host.KernelVersionWithContext(ctx)
	if err != nil {
		return "", fmt.Errorf("read the kernel's version: %w", err)
	}
	before, err := load.AvgWithContext(ctx)
	if err != nil {
		return "", fmt.Errorf("read the load: %w", err)
	}
	return fmt.Sprintf("%s, %s, %d cores, %s %s, %s, load before %.1f", time.Now().Format("2006-01-02 15:04 MST"),
		model, runtime.NumCPU(), runtime.GOOS, kernel, runtime.Version(), before.Load1), nil
}

// Directory makes a directory on a file system that keeps its files on a disk: what
// is never written to one says nothing about commits.
func Directory(pattern string) (string, error) {
	dir, err := os.MkdirTemp("", pattern)
	if err != nil {
		return "", fmt.Errorf("make a directory: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return "", errors.Join(fmt.Errorf("look at the file system of %s: %w", dir, err), os.Remove(dir))
	}
	if fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		return "", errors.Join(fmt.Errorf("%s is kept in memory: name a directory on a disk in TMPDIR", filepath.Dir(dir)), os.Remove(dir))
	}
	return dir, nil
}

// DiskSyncs is how often a second 4 KiB can be appended to a file in dir and be
// brought to the disk with fdatasync, one after the other.
func DiskSyncs(ctx context.Context, dir string, d time.Duration) (rate float64, err error) {
	f, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		return 0, fmt.Errorf("make a file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	block := make([]byte, 4<<10)
	began, n := time.Now(), 0
	for ; time.Since(began) < d && ctx.Err() == nil; n++ {
		if _, err := f.Write(block); err != nil {
			return 0, fmt.Errorf("append: %w", err)
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, fmt.Errorf("fdatasync: %w", err)
		}
	}
	return float64(n) / time.Since(began).Seconds(), ctx.Err()
}

package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/load"
	"github.com/shirou/gopsutil/v4/mem"
)

// Description is a process and its machine, for whoever looks at them from afar. It holds
// no environment, no command line and no content of files.
type Description struct {
	OS       string `json:"os"`
	Arch     string `json:"arch"`
	Platform string `json:"platform,omitempty"` // distribution and its version
	Kernel   string `json:"kernel,omitempty"`
	Virtual  string `json:"virtualization,omitempty"`
	UpFor    string `json:"up_for,omitempty"`

	CPUs        int     `json:"cpus"`
	Load1       float64 `json:"load_1"`
	Load15      float64 `json:"load_15"`
	MemoryFree  uint64  `json:"memory_free_bytes"`
	MemoryTotal uint64  `json:"memory_total_bytes"`
	DiskFree    uint64  `json:"disk_free_bytes"`
	DiskTotal   uint64  `json:"disk_total_bytes"`
	FileSystem  string  `json:"file_system,omitempty"`

	Process Process `json:"process"`
	Entries []Entry `json:"data_directory"`
}

// Process is the one that describes itself.
type Process struct {
	PID         int    `json:"pid"`
	Go          string `json:"go"`
	MaxProcs    int    `json:"gomaxprocs"`
	MemoryLimit string `json:"gomemlimit"`
	Goroutines  int    `json:"goroutines"`
	HeapBytes   uint64 `json:"heap_bytes"`
	SystemBytes uint64 `json:"system_bytes"`
	Collections uint32 `json:"collections"`
	FilesLimit  uint64 `json:"files_limit,omitempty"`
	FilesOpen   int    `json:"files_open,omitempty"`
}

// Entry is a file in the data directory.
type Entry struct {
	Path     string    `json:"path"` // below the directory
	Mode     string    `json:"mode"`
	Bytes    int64     `json:"bytes"`
	Modified time.Time `json:"modified"`
}

// Describe is the Description as JSON. What cannot be found out is left out.
func Describe(ctx context.Context, dataDir string) ([]byte, error) {
	d := Description{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Process: ownProcess(), Entries: entries(dataDir)}
	if h, err := host.InfoWithContext(ctx); err == nil {
		d.Platform, d.Kernel, d.Virtual = h.Platform+" "+h.PlatformVersion, h.KernelVersion, h.VirtualizationSystem
		d.UpFor = (time.Duration(min(h.Uptime, math.MaxInt32)) * time.Second).String() //nolint:gosec // bounded
	}
	if l, err := load.AvgWithContext(ctx); err == nil {
		d.Load1, d.Load15 = l.Load1, l.Load15
	}
	if m, err := mem.VirtualMemoryWithContext(ctx); err == nil {
		d.MemoryFree, d.MemoryTotal = m.Available, m.Total
	}
	if u, err := disk.UsageWithContext(ctx, dataDir); err == nil {
		d.DiskFree, d.DiskTotal, d.FileSystem = u.Free, u.Total, u.Fstype
	}
	return json.MarshalIndent(d, "", "  ")
}

func ownProcess() Process {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p := Process{
		PID: os.Getpid(), Go: runtime.Version(), MaxProcs: runtime.GOMAXPROCS(0), MemoryLimit: "none",
		Goroutines: runtime.NumGoroutine(), HeapBytes: m.HeapAlloc, SystemBytes: m.Sys, Collections: m.NumGC,
	}
	if l := debug.SetMemoryLimit(-1); l != math.MaxInt64 {
		p.MemoryLimit = fmt.Sprintf("%d bytes", l)
	}
	if f := Files(); f.Err == nil {
		p.FilesLimit, p.FilesOpen = f.Limit, max(f.Open, 0)
	}
	return p
}

func entries(dir string) []Entry {
	out := []Entry{}
	_ = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error { // what cannot be read is left out
		if len(out) >= maxEntries {
			return filepath.SkipAll
		}
		if err != nil {
			return nil
		}
		info, err := e.Info()
		rel, relErr := filepath.Rel(dir, path)
		if err != nil || relErr != nil {
			return nil
		}
		out = append(out, Entry{Path: rel, Mode: info.Mode().String(), Bytes: info.Size(), Modified: info.ModTime().UTC()})
		return nil
	})
	return out
}

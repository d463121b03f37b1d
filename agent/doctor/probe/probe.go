// Package probe looks at this machine for package doctor: the data directory, its disk,
// memory, file descriptors, and the service of systemd. It writes nothing that stays.
//
// What a machine in trouble does not answer in time is left behind: a system call on a
// disk that hangs cannot be taken back. A Machine never leaves behind more than one of a
// kind.
package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/mem"
	"github.com/shirou/gopsutil/v4/process"

	"github.com/ushercluster/usher/agent/doctor"
)

// Machine looks at the machine that it runs on, for one data directory. It is safe for
// concurrent use; the zero value but for Dir is ready.
type Machine struct {
	Dir string // data directory

	space, sync, listing atomic.Bool // one is under way
}

// errHangs means that an earlier look has not come back yet.
var errHangs = errors.New("the file system does not answer: an earlier look at it still waits")

// bounded runs look, which cannot be interrupted, until ctx ends.
func bounded[T any](ctx context.Context, busy *atomic.Bool, look func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	var none T
	if !busy.CompareAndSwap(false, true) {
		return none, errHangs
	}
	done := make(chan result, 1)
	go func() {
		v, err := look()
		busy.Store(false) // before the answer: whoever has it may look again
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		return none, fmt.Errorf("the file system does not answer: %w", ctx.Err())
	}
}

// Space is how much room the file system has.
func (m *Machine) Space(ctx context.Context) *doctor.Disk {
	out := &doctor.Disk{Path: m.Dir}
	u, err := bounded(ctx, &m.space, func() (*disk.UsageStat, error) { return disk.Usage(m.Dir) })
	if err != nil {
		out.Err = err
		return out
	}
	out.Free, out.Total = u.Free, u.Total
	return out
}

const (
	syncWrites = 7
	syncBytes  = 4 << 10
)

// Sync measures how long a few small writes take to be on disk. The file that it takes
// for that is gone afterwards, even if the process is killed in between (not on Windows).
func (m *Machine) Sync(ctx context.Context) *doctor.Sync {
	out := &doctor.Sync{Path: m.Dir, Writes: syncWrites}
	took, err := bounded(ctx, &m.sync, func() ([]time.Duration, error) { return syncTimes(ctx, m.Dir) })
	if err != nil {
		out.Err = err
		return out
	}
	slices.Sort(took)
	out.Writes, out.Median, out.Worst = len(took), took[len(took)/2], took[len(took)-1]
	return out
}

func syncTimes(ctx context.Context, dir string) (took []time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".usher-doctor-*")
	if err != nil {
		return nil, err
	}
	early := os.Remove(f.Name()) == nil // an open file needs no name
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
		if !early {
			_ = os.Remove(f.Name())
		}
	}()
	block := make([]byte, syncBytes)
	for range syncWrites {
		if ctx.Err() != nil && len(took) > 0 {
			break // a slow disk is judged by what there is
		}
		began := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		if err := datasync(f); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

// Memory is the machine's, with what the process pid has of it; 0 leaves that out.
func Memory(ctx context.Context, pid int) *doctor.Memory {
	v, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return &doctor.Memory{Err: err}
	}
	out := &doctor.Memory{Free: v.Available, Total: v.Total}
	if pid > 0 {
		if p, err := process.NewProcessWithContext(ctx, int32(pid)); err == nil { //nolint:gosec // a process ID
			if i, err := p.MemoryInfoWithContext(ctx); err == nil {
				out.Own = i.RSS
			}
		}
	}
	return out
}

// Directory looks at modes and owners in the data directory, as deep as the agent writes.
func (m *Machine) Directory(ctx context.Context) *doctor.Dir {
	out, err := bounded(ctx, &m.listing, func() (*doctor.Dir, error) { return directory(m.Dir), nil })
	if err != nil {
		return &doctor.Dir{Path: m.Dir, Err: err}
	}
	return out
}

// maxEntries bounds how much of a directory is looked at.
const maxEntries = 2000

func directory(path string) *doctor.Dir {
	out := &doctor.Dir{Path: path}
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = errors.New("it is no directory")
	}
	if err != nil {
		out.Err = err
		return out
	}
	out.Mode = info.Mode()
	uid, hasOwner := ownerOf(info)
	if hasOwner {
		out.Owner = userName(uid)
	}
	if loose(info.Mode()) {
		out.Loose = append(out.Loose, doctor.File{Path: path, Mode: info.Mode()})
	}
	seen := 0
	err = filepath.WalkDir(path, func(name string, e os.DirEntry, err error) error {
		seen++
		if err != nil && name == path {
			return err
		}
		if name == path || err != nil {
			return nil // what is gone by now, or not ours to enter, is the agent's business
		}
		if seen > maxEntries {
			return filepath.SkipAll
		}
		info, err := e.Info()
		if err != nil {
			return nil
		}
		if who, ok := ownerOf(info); ok && hasOwner && who != uid {
			out.Foreign = append(out.Foreign, name)
		}
		if e.Type().IsRegular() && loose(info.Mode()) && secret(filepath.Base(name)) {
			out.Loose = append(out.Loose, doctor.File{Path: name, Mode: info.Mode()})
		}
		return nil
	})
	out.Err = err
	out.Holder = holder(filepath.Join(path, "LOCK"))
	return out
}

// secret reports whether a file of that name holds what others must not read. The
// directory's own mode keeps them away from everything; these refuse to be read even so.
func secret(name string) bool {
	switch name {
	case "node.key", "seal.key", "join.pending", "admin.token":
		return true
	}
	return false
}

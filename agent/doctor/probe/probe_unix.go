//go:build unix

package probe

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ushercluster/usher/agent/doctor"
)

func loose(m fs.FileMode) bool { return m.Perm()&0o077 != 0 }

func ownerOf(info fs.FileInfo) (uid uint32, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return st.Uid, true
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil && u.Username != "" {
		return u.Username
	}
	return id
}

// holder is the process that a lock file names, if it lives.
func holder(path string) int {
	b, err := os.ReadFile(path)
	if err != nil || len(b) > 32 {
		return 0
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil || pid <= 1 {
		return 0
	}
	if err := unix.Kill(pid, 0); err != nil && !errors.Is(err, unix.EPERM) {
		return 0
	}
	return pid
}

// Files are the descriptors of this process.
func Files() *doctor.Files {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return &doctor.Files{Err: err}
	}
	out := &doctor.Files{Limit: uint64(l.Cur), Open: -1} //nolint:unconvert,nolintlint // signed on some systems
	for _, dir := range []string{"/proc/self/fd", "/dev/fd"} {
		if d, err := os.Open(dir); err == nil {
			if names, err := d.Readdirnames(1 << 20); err == nil {
				out.Open = len(names) - 1 // the directory itself
			}
			_ = d.Close()
			break
		}
	}
	return out
}

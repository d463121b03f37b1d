package consensus

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/ushercluster/usher/fsm"
)

// failSyncs makes every call that brings a file's data to the disk fail with EIO, in this
// process and for good. Whatever calls none of them does not notice.
func failSyncs() error {
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}} // the call's number
	for _, call := range []uint32{unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNCFS, unix.SYS_MSYNC} {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EIO)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // until the filter is on all threads
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return errno
	}
	return nil
}

// TestWritesReachTheDisk takes the way to the disk away, in a process of its own: what is
// promised to be on the disk must then fail. A store that does not sync would go on.
func TestWritesReachTheDisk(t *testing.T) {
	const child = "USHER_TEST_FAIL_SYNCS"
	if os.Getenv(child) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWritesReachTheDisk$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1")
		out, err := cmd.CombinedOutput()
		switch {
		case err != nil:
			t.Fatalf("%v\n%s", err, out)
		case strings.Contains(string(out), "--- SKIP"):
			t.Skipf("%s", out)
		}
		return
	}
	dir := t.TempDir()
	s, err := OpenStores(dir, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	snapshot := func() error {
		f := fsm.New(fsm.Options{})
		initial, err := f.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		_, mem := raft.NewInmemTransport("")
		defer mem.Close()
		sink, err := s.Snapshots.Create(1, 1, 1, raft.Configuration{}, 1, mem)
		if err != nil {
			return err
		}
		_, err = initial.WriteTo(sink)
		return errors.Join(err, sink.Close())
	}
	if err := failSyncs(); err != nil {
		t.Skip("this kernel takes no filter of system calls:", err)
	}
	for _, c := range []struct {
		name  string
		write func() error
	}{
		{"an entry of the log", func() error { return s.Logs.StoreLogs([]*raft.Log{{Index: 1, Term: 1, Data: []byte("x")}}) }},
		{"the term", func() error { return s.Stable.SetUint64(keyTerm, 2) }},
		{"the vote", func() error { return s.Stable.Set([]byte("LastVoteCand"), []byte("n")) }},
		{"a start", func() error { return s.SetBoot(Boot{Number: 1, Nonce: []byte("n")}) }},
		{"a snapshot", snapshot},
		{"state.cache", func() error { return writeCache(filepath.Join(dir, "state.cache"), fsm.New(fsm.Options{}).View()) }},
	} {
		if err := c.write(); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v, though nothing could reach the disk", c.name, err)
		}
	}
}

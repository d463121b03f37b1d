package admin

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/ushercluster/usher/fsm"
)

var manyWaiters = flag.Int("waiters", 2_000, "how many TestManyWaiters makes")

// Goals for each waiter, so that ten thousand stay below 100 MB, and for the writes that
// wake them. Few waiters, or the race detector, are no measurement: then the goal is what
// net/http's buffers alone would exceed.
const (
	coarseGoal = 16_000
	waiterGoal = 10_000 // bytes
	writeGoal  = 100 * time.Millisecond
)

// crowd is a server on a real socket, and its callers: bare descriptors, which take no
// memory of this process.
type crowd struct {
	*testing.T
	tr       *truth
	registry *prometheus.Registry
	addr     unix.SockaddrUnix
	fds      []int
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	k := &crowd{T: t, tr: newTruth()}
	k.tr.seed(t)
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	k.registry = prometheus.NewRegistry()
	s := New(Config{
		Registerer: k.registry,
		Backend:    &backend{truth: k.tr, self: n1}, Now: k.tr.Now, Log: zerolog.Nop(), SocketUser: func(net.Conn) (string, error) { return "root", nil },
		ValidateTask: func(fsm.Task) error { return nil }, NextDue: func(fsm.Task, time.Time, int) []time.Time { return nil },
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.ServeLocal(ctx, ln) }()
	t.Cleanup(func() {
		for _, fd := range k.fds {
			_ = unix.Close(fd)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	k.addr.Name = path
	return k
}

// send makes n requests on connections of their own.
func (k *crowd) send(n int, target string) (fds []int) {
	k.Helper()
	request := []byte("GET " + target + " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: usher\r\nAccept: application/json\r\n\r\n")
	for range n {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			k.Fatal(err)
		}
		k.fds = append(k.fds, fd)
		fds = append(fds, fd)
		err = unix.Connect(fd, &k.addr)
		for errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			err = unix.Connect(fd, &k.addr)
		}
		if err != nil {
			k.Fatal(err)
		}
		if _, err := unix.Write(fd, request); err != nil {
			k.Fatal(err)
		}
	}
	return fds
}

// read is what has come on fd within a minute, beginning with the first byte.
func (k *crowd) read(fd int) string {
	k.Helper()
	b := make([]byte, 64<<10)
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if n, err := unix.Poll(p, 1000); err != nil && !errors.Is(err, unix.EINTR) {
			k.Fatal(err)
		} else if n > 0 {
			n, err := unix.Read(fd, b)
			if err != nil {
				k.Fatal(err)
			}
			return string(b[:n])
		}
	}
	k.Fatal("no answer within a minute")
	return ""
}

// parked waits until as many are.
func (k *crowd) parked(n int) {
	k.Helper()
	for end := time.Now().Add(time.Minute); ; runtime.Gosched() {
		got := parked(k.T, k.registry)
		if got == n {
			return
		}
		if time.Now().After(end) {
			k.Fatalf("%d are parked, want %d", got, n)
		}
	}
}

// memory is what the heap and the stacks take, garbage and free pages aside.
func memory() int64 {
	runtime.GC()
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys - m.HeapReleased)
}

func resident(t *testing.T) int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// TestManyWaiters parks callers on blocking queries and on event streams, and measures
// what each of them takes; that a change wakes those alone whose rows it concerns; and
// for how long writes wait while all are woken.
func TestManyWaiters(t *testing.T) {
	n := *manyWaiters
	if raceEnabled {
		n = min(n, 200) // each is ten times as slow
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if need := uint64(2*n + 200); limit.Cur < need {
		limit.Cur, limit.Max = need, max(limit.Max, need)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Skipf("SKIPPED: %d file descriptors are needed, more than are allowed: %v", need, err)
		}
	}
	for _, streams := range []bool{false, true} {
		t.Run(map[bool]string{false: "queries", true: "streams"}[streams], func(t *testing.T) {
			k := newCrowd(t)
			k.read(k.send(1, "/v1/settings?stale")[0]) // what comes with the first request
			goroutines, before, rss := runtime.NumGoroutine(), memory(), resident(t)
			target := "/v1/settings/log.level?stale&wait=60s&index=" + strconv.FormatUint(k.tr.fsm.View().Revision(), 10)
			if streams {
				target = "/v1/events"
			}
			fds := k.send(n, target)
			if streams {
				for _, fd := range fds {
					k.read(fd) // the beginning
				}
			}
			k.parked(n)
			each, eachRSS := (memory()-before)/int64(n), (resident(t)-rss)/int64(n)
			if more := runtime.NumGoroutine() - goroutines; more > n+10 {
				t.Errorf("%d goroutines for %d waiters", more, n)
			}
			fmt.Printf("%d %s: %d bytes each, resident %d; for 10,000: %.0f MB\n", n, t.Name(), each, eachRSS, float64(each)/100)
			goal := int64(coarseGoal)
			if n >= 5_000 {
				goal = waiterGoal
			}
			if each > goal && !raceEnabled { // which takes memory of its own
				t.Errorf("%d bytes for each of %d waiters, goal %d", each, n, goal)
			}
			k.wakeAll(fds, streams)
		})
	}
}

// wakeAll changes what all wait for, and goes on writing until all have been answered.
func (k *crowd) wakeAll(fds []int, streams bool) {
	k.Helper()
	now := k.tr.fsm.View().Revision()
	witness := k.send(1, "/v1/cluster?stale&wait=60s&index="+strconv.FormatUint(now, 10))[0]
	k.parked(len(fds) + 1)
	others := k.tr.must(k.T, &fsm.RenameCluster{Name: "before"}).Revision
	if got := k.read(witness); index(got) != others {
		k.Errorf("who waits for the cluster's name is told %s", got)
	}
	began := time.Now()
	change := k.tr.must(k.T, &fsm.SetSetting{Key: "log.level", Value: "warn"}).Revision
	answered := make(chan struct{})
	waits := make(chan []time.Duration)
	go func() {
		var took []time.Duration
		for i := 0; ; i++ {
			select {
			case <-answered:
				waits <- took
				return
			case <-time.After(time.Millisecond):
			}
			began := time.Now()
			k.tr.must(k.T, &fsm.RenameCluster{Name: strconv.Itoa(i)})
			took = append(took, time.Since(began))
		}
	}()
	for i, fd := range fds {
		got := k.read(fd)
		revision := index(got)
		if !streams && (revision < change || !strings.Contains(got, `"warn"`)) {
			k.Errorf("waiter %d was woken by the change at %d, of other rows, or not by its own at %d: %s", i, others, change, got)
			break
		}
		for streams && !strings.Contains(got, `"settings"`) && (strings.Contains(got, `"cluster"`) || strings.Contains(got, "still here")) {
			got = k.read(fd) // a slow machine tells of something else first
		}
		if streams && !strings.Contains(got, `"settings"`) {
			k.Errorf("stream %d: %s", i, got)
			break
		}
	}
	all := time.Since(began)
	close(answered)
	took := <-waits
	slices.Sort(took)
	if len(took) == 0 {
		return
	}
	p99, most := took[len(took)*99/100], took[len(took)-1]
	fmt.Printf("%d %s: all answered after %v; %d writes meanwhile: median %v, 99th percentile %v, longest %v\n",
		len(fds), k.Name(), all.Round(time.Millisecond), len(took), took[len(took)/2], p99, most)
	if p99 > writeGoal {
		k.Errorf("writes take %v while all are woken, goal %v", p99, writeGoal)
	}
}

// index is an answer's revision.
func index(answer string) uint64 {
	_, rest, _ := strings.Cut(answer, headerIndex+": ")
	text, _, _ := strings.Cut(rest, "\r\n")
	n, _ := strconv.ParseUint(text, 10, 64) // 0: there is none
	return n
}

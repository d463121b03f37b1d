//go:build lab

package main

import (
	"os"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// labClockVariable names the file that says how far this agent's wall clock is ahead:
// a Go duration, in whole seconds. It may change at any time.
const labClockVariable = "USHER_LAB_CLOCK"

// labClockLook is how soon a change is noticed.
const labClockLook = 100 * time.Millisecond

// wallClock is this machine's clock, put forward or back as the laboratory wants it.
func wallClock(env func(string) (string, bool)) func() time.Time {
	file, ok := env(labClockVariable)
	if !ok || file == "" {
		return time.Now
	}
	return (&labClock{file: file}).now
}

// labClock reads the offset anew now and then. It is safe for concurrent use.
type labClock struct {
	file string

	mu     sync.Mutex
	looked time.Time
	ahead  time.Duration
}

func (c *labClock) now() time.Time {
	t := time.Now()
	return stepped(t, c.offset(t))
}

// offset keeps the last one if the file is not there or says something else.
func (c *labClock) offset(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.looked.IsZero() && now.Sub(c.looked) < labClockLook {
		return c.ahead
	}
	c.looked = now
	if text, err := os.ReadFile(c.file); err == nil {
		if d, err := time.ParseDuration(strings.TrimSpace(string(text))); err == nil {
			c.ahead = d.Truncate(time.Second)
		}
	}
	return c.ahead
}

// stepped is a reading of a clock that was set by so many whole seconds: the wall time
// differs, and the monotonic time does not, because a clock that is set leaves that
// alone. Package time has no way to say so: Add moves both. So it is done to the words of
// the reading, and where they are not as they are known (a flag, 33 bits of seconds, 30
// bits of nanoseconds; then the monotonic time), Add has to do.
func stepped(t time.Time, by time.Duration) time.Time {
	if by == 0 {
		return t
	}
	want := t.Round(0).Add(by)
	words := (*struct {
		wall uint64
		ext  int64
		loc  uintptr
	})(unsafe.Pointer(&t))
	before := *words
	words.wall += uint64(int64(by/time.Second)) << 30
	if before.wall>>63 == 1 && t.Round(0).Equal(want) {
		return t
	}
	*words = before
	return t.Add(by)
}

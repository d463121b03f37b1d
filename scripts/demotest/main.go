//go:build unix

// Command demotest shows on a running demo, with real processes and kill -9, what
// the README promises:
//
//   - users with cookies who change the door at every request are never moved, and
//     are spread evenly over the engines;
//   - an owner, a door and the central node are killed in turn, with WebSockets
//     open: every user's next request is answered within two seconds through a
//     living door, and nobody else notices; the killed agent comes back and
//     catches up;
//   - a task runs through all of that: every occurrence has one terminal record,
//     and the engines counted the attempts that the history knows;
//   - with two of three agents dead the third serves its sessions and says plainly
//     that it cannot write, by commands that exit with 3; all heals when they return;
//   - a node is drained: the command ends when its last session has, and not before.
//
// It exits with 1 when any of that does not hold. See scripts/demo-test.sh.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	o := options{}
	flag.StringVar(&o.usher, "usher", "", "path of the usher binary")
	flag.IntVar(&o.users, "users", 100, "users")
	flag.IntVar(&o.requests, "requests", 1000, "requests of each user")
	flag.DurationVar(&o.limit, "limit", 10*time.Minute, "give up after this long")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
		os.Exit(1)
	}
	fmt.Println("PASSED")
}

type options struct {
	usher    string
	users    int
	requests int
	limit    time.Duration
}

// run goes through the acts in order; each stands on the one before.
func run(ctx context.Context, o options) (err error) {
	d, err := startDemo(ctx, o.usher)
	if err != nil {
		return err
	}
	defer func() {
		if e := d.stop(); err == nil {
			err = e
		}
	}()
	acts := []struct {
		name string
		f    func(*stage, context.Context) error
	}{
		{"a task every 5 s", (*stage).scheduleTask},
		{"users change the door at every request", (*stage).walk},
		{"an owner is killed", (*stage).killOwner},
		{"a door is killed", (*stage).killDoor},
		{"the central node is killed", (*stage).killCentral},
		{"two of three are dead", (*stage).killTwo},
		{"a node is drained", (*stage).drain},
		{"the task's history", (*stage).checkTask},
	}
	s := newStage(d, o)
	defer s.close()
	for _, act := range acts {
		fmt.Printf("== %s\n", act.name)
		began := time.Now()
		if err := act.f(s, ctx); err != nil {
			return fmt.Errorf("%s: %w", act.name, err)
		}
		fmt.Printf("   %s\n", time.Since(began).Round(10*time.Millisecond))
	}
	return nil
}

package main

import (
	"fmt"
	"io"
	"time"
)

// firstSockets are opened before the memory is read, so that what a proxy needs once does
// not count: pools, and the room that a collected heap has between two collections.
const firstSockets = 1000

// idle measures the memory that WebSockets take while nobody says anything. What the
// kernel keeps for their descriptors is not in it.
func (t *task) idle() (s sample, err error) {
	var all []io.Closer
	defer func() {
		for _, c := range all {
			_ = c.Close() // the process ends right behind
		}
	}()
	open := func(n int) error {
		for range n {
			c, err := t.connect("http/1.1")
			if err != nil {
				return err
			}
			all = append(all, c)
			cookie, err := t.introduce(c)
			if err != nil {
				return fmt.Errorf("open a session: %w", err)
			}
			if err := t.upgrade(c, cookie); err != nil {
				return err
			}
		}
		time.Sleep(t.Time)
		return nil
	}
	if err := open(firstSockets); err != nil {
		return s, err
	}
	before, err := resident(t.PIDs)
	if err != nil {
		return s, err
	}
	if err := open(t.Sockets); err != nil {
		return s, fmt.Errorf("with %d WebSockets open: %w", len(all), err)
	}
	after, err := resident(t.PIDs)
	if err != nil {
		return s, err
	}
	return sample{Requests: float64(t.Sockets), Bytes: float64(after - before)}, nil
}

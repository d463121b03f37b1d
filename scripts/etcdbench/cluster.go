package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Users. The writer is no superuser, so that its rights are looked up as an
// operator's are with us.
const (
	root     = "root"
	writer   = "writer"
	password = "measured" // of a cluster on loopback that lives for minutes
	prefix   = "bench/"
)

type clients []*clientv3.Client

func (c clients) close() {
	for _, one := range c {
		one.Close()
	}
}

// connect makes one client for each of the addresses; user is "" without
// authentication.
func connect(members []string, user string) (clients, error) {
	var out clients
	for _, m := range members {
		cfg := clientv3.Config{Endpoints: []string{m}, DialTimeout: 5 * time.Second, Username: user, Logger: zap.NewNop()}
		if user != "" {
			cfg.Password = password
		}
		c, err := clientv3.New(cfg)
		if err != nil {
			out.close()
			return nil, fmt.Errorf("connect to %s: %w", m, err)
		}
		out = append(out, c)
	}
	return out, nil
}

func (s *session) setUp(ctx context.Context) error {
	open, err := connect(s.members, "")
	if err != nil {
		return err
	}
	defer open.close()
	s.admin = open
	for {
		if _, err := s.leader(ctx); err == nil {
			break
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("no leader: %w", err)
		}
	}
	c := open[0]
	steps := []func() error{
		func() error { _, err := c.UserAdd(ctx, root, password); return err },
		func() error { _, err := c.UserGrantRole(ctx, root, root); return err },
		func() error { _, err := c.UserAdd(ctx, writer, password); return err },
		func() error { _, err := c.RoleAdd(ctx, writer); return err },
		func() error {
			_, err := c.RoleGrantPermission(ctx, writer, prefix, clientv3.GetPrefixRangeEnd(prefix), clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func() error { _, err := c.UserGrantRole(ctx, writer, writer); return err },
		func() error { _, err := c.AuthEnable(ctx); return err },
	}
	// The root role has to be there before root gets it.
	if _, err := c.RoleAdd(ctx, root); err != nil {
		return fmt.Errorf("make role: %w", err)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("set up users: %w", err)
		}
	}
	s.admin, err = connect(s.members, root)
	return err
}

// leader asks the members until one knows.
func (s *session) leader(ctx context.Context) (int, error) {
	err := errors.New("nobody leads")
	for range s.members {
		ids := map[uint64]int{}
		var leads uint64
		for i, c := range s.admin {
			one, cancel := context.WithTimeout(ctx, time.Second)
			st, e := c.Status(one, s.members[i])
			cancel()
			if e != nil {
				err = e
				continue
			}
			ids[st.Header.MemberId] = i
			if st.Leader != 0 {
				leads = st.Leader
			}
		}
		if i, ok := ids[leads]; ok {
			return i, nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return -1, err
		}
	}
	return -1, err
}

// caughtUp waits for member i.
func (s *session) caughtUp(ctx context.Context, i int) error {
	leads, err := s.leader(ctx)
	if err != nil {
		return err
	}
	want, err := s.admin[leads].Status(ctx, s.members[leads])
	if err != nil {
		return fmt.Errorf("look at the leader: %w", err)
	}
	for {
		one, cancel := context.WithTimeout(ctx, time.Second)
		st, err := s.admin[i].Status(one, s.members[i])
		cancel()
		if err == nil && st.RaftAppliedIndex >= want.RaftIndex {
			return nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("%s does not catch up: %w", s.members[i], err)
		}
	}
}

// moveLeader moves the leadership to the member after the leader.
func (s *session) moveLeader(ctx context.Context) error {
	from, err := s.leader(ctx)
	if err != nil {
		return err
	}
	to := (from + 1) % len(s.members)
	st, err := s.admin[to].Status(ctx, s.members[to])
	if err != nil {
		return fmt.Errorf("look at the next leader: %w", err)
	}
	if _, err := s.admin[from].MoveLeader(ctx, st.Header.MemberId); err != nil {
		return fmt.Errorf("move leader: %w", err)
	}
	return nil
}

func key(k int) string { return fmt.Sprintf("%skey-%03d", prefix, k) }

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

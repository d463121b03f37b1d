//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/ushercluster/usher/agent/admin"
)

func (s *stage) killOwner(ctx context.Context) error {
	return s.killOne(ctx, s.d.find(s.users[0].node))
}

// killDoor kills an agent that is not the central node, for what it is to users of
// other engines: their door.
func (s *stage) killDoor(ctx context.Context) error {
	central, err := s.central(ctx)
	if err != nil {
		return err
	}
	return s.killOne(ctx, s.d.other(central))
}

func (s *stage) killCentral(ctx context.Context) error {
	n, err := s.central(ctx)
	if err != nil {
		return err
	}
	if err := n.kill(); err != nil {
		return err
	}
	killed := time.Now()
	if err := s.after(ctx, n); err != nil {
		return err
	}
	other := s.d.other(n)
	_, err = until(ctx, 10*time.Second, "write after the central node died", func(ctx context.Context) bool {
		_, err := other.client.SetSetting(ctx, "session.idle_timeout", "31m")
		return err == nil
	})
	if err != nil {
		return err
	}
	fmt.Printf("   the next write was acknowledged %s after the kill\n", time.Since(killed).Round(time.Millisecond))
	return s.revive(ctx, n)
}

func (s *stage) killOne(ctx context.Context, n *node) error {
	if err := n.kill(); err != nil {
		return err
	}
	if err := s.after(ctx, n); err != nil {
		return err
	}
	return s.revive(ctx, n)
}

func (s *stage) revive(ctx context.Context, nodes ...*node) error {
	for _, n := range nodes {
		if err := n.start(); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		if err := s.d.back(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) central(ctx context.Context) (*node, error) {
	var found *node
	_, err := until(ctx, 10*time.Second, "central node", func(ctx context.Context) bool {
		for _, n := range s.d.Nodes {
			if c, err := n.client.Central(ctx); err == nil && c.Node != nil {
				found = s.d.find(c.Node.Name)
				return true
			}
		}
		return false
	})
	return found, err
}

// killTwo leaves one of three.
func (s *stage) killTwo(ctx context.Context) error {
	last := s.d.find(s.users[0].node)
	var dead []*node
	for _, n := range s.d.Nodes {
		if n != last {
			dead = append(dead, n)
			if err := n.kill(); err != nil {
				return err
			}
		}
	}
	if err := s.after(ctx, dead...); err != nil {
		return err
	}
	refused := make(chan error, 1) // at the same time: each waits for a majority, and the task has due times
	go func() { refused <- s.refused(ctx, last) }()
	began := time.Now()
	_, err := last.client.SetSetting(ctx, "session.idle_timeout", "32m")
	var p *admin.Problem
	if !errors.As(err, &p) || p.Code != "no_quorum" || time.Since(began) > 5*time.Second {
		st, _ := last.client.Status(ctx, admin.Stale())
		return fmt.Errorf("a write without quorum: error (%w) after %s; %s sees %+v", err, time.Since(began), last.Name, st.Raft)
	}
	fmt.Printf("   a write was refused after %s: %v\n", time.Since(began).Round(time.Millisecond), p)
	resp, err := http.Get(last.Door + "/usher/status") //nolint:noctx // loopback, and the run is bounded
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status page of the last one: %d", resp.StatusCode)
	}
	if err := <-refused; err != nil {
		return err
	}
	return s.revive(ctx, dead...)
}

package night

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// reborn loses a node's disk, and lets its machine take its place again.
func reborn(ctx context.Context, s *stage) error {
	victim := s.w.Nodes[s.rng.IntN(3)]
	helper := s.w.Others(victim)[s.rng.IntN(2)]
	if _, err := s.runs(ctx, helper, done, "node", "set", victim.Name, "--weight", "70", "--tags", "loud,north", "--public-name", "bi2.example.com"); err != nil {
		return err
	}
	before, err := helper.Client.Node(ctx, victim.Name)
	if err != nil {
		return err
	}
	s.lost(victim, history.LossUnknown)
	if err := victim.LoseDisk(ctx); err != nil {
		return err
	}
	if err := s.wait(ctx, 3*time.Second); err != nil {
		return err
	}
	printed, err := s.types(ctx, helper, done, lineReplace, map[string]string{"bi2": victim.Name})
	if err != nil {
		return err
	}
	file := filepath.Join(victim.Top(), "join.token")
	if err := os.WriteFile(file, []byte(printed.Out), 0o600); err != nil {
		return err
	}
	args, err := s.book.arguments(lineRejoin, map[string]string{"bi1": helper.Addr(), "join.token": file})
	if err != nil {
		return err
	}
	victim.Next(nil, args[1:])
	if err := victim.Start(); err != nil {
		return err
	}
	if err := s.w.Whole(ctx, wholeWithin); err != nil {
		return err
	}
	s.back(victim)
	return errors.Join(s.sameNode(ctx, helper, before), s.wait(ctx, 2*time.Second))
}

// sameNode compares what the page says stays, and that the identity does not.
func (s *stage) sameNode(ctx context.Context, at *world.Node, before admin.Node) error {
	after, err := at.Client.Node(ctx, before.Name)
	if err != nil {
		return err
	}
	if after.ID == before.ID {
		return fmt.Errorf("%s has its old identity", before.Name)
	}
	if after.Weight != before.Weight || after.PublicName != before.PublicName || !slices.Equal(after.Tags, before.Tags) || after.Weight != 70 || len(after.Tags) != 2 {
		return fmt.Errorf("%s had weight %d, tags %q, public name %q, and has %d, %q, %q",
			before.Name, before.Weight, before.Tags, before.PublicName, after.Weight, after.Tags, after.PublicName)
	}
	_, err = at.Client.Node(ctx, string(before.ID))
	var p *admin.Problem
	if !errors.As(err, &p) || p.Status != http.StatusNotFound && p.Status != http.StatusGone {
		return fmt.Errorf("the old identity of %s is not removed: %w", before.Name, err)
	}
	nodes, err := at.Client.Nodes(ctx)
	if err != nil || len(nodes.Items) != len(s.w.Nodes) {
		return fmt.Errorf("there are %d nodes (%w)", len(nodes.Items), err)
	}
	s.saw("%s is back under its name with its weight, tags and public name; its old identity is gone", before.Name)
	return nil
}

package admin

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Times that no one can mean are refused, not clamped.
func TestAbsurdTimes(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	c := r.client(n2, r.tok.admin)
	for name, call := range map[string]func(d Duration) error{
		"join token": func(d Duration) error { _, err := c.CreateJoinToken(ctx, JoinTokenSpec{TTL: d}); return err },
		"token": func(d Duration) error {
			_, err := c.CreateToken(ctx, TokenSpec{Name: "x", Role: "viewer", TTL: d})
			return err
		},
		"drain": func(d Duration) error { _, err := c.Drain(ctx, "beta", StateChange{Deadline: d}); return err },
	} {
		var p *Problem
		if err := call(Duration(20 * 365 * 24 * time.Hour)); !errors.As(err, &p) || p.Code != CodeInvalid || p.Next == "" {
			t.Errorf("%s for twenty years: %v", name, err)
		}
		if err := call(Duration(time.Hour)); err != nil {
			t.Errorf("%s for an hour: %v", name, err)
		}
	}
	tok, err := c.CreateJoinToken(ctx, JoinTokenSpec{})
	if err != nil || tok.Uses != 10 || tok.Expires.Sub(r.tr.Now()) != 24*time.Hour {
		t.Errorf("a join token without wishes: %+v, %v", tok.JoinToken, err)
	}
	if tok, err = c.CreateJoinToken(ctx, JoinTokenSpec{Replace: "beta"}); err != nil || tok.Uses != 1 {
		t.Errorf("a join token that replaces a node: %+v, %v", tok.JoinToken, err)
	}
}

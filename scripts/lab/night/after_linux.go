package night

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// visitor is a browser that comes with its cookies, to whatever door.
type visitor struct{ cookies map[string]string }

// knock makes one request.
func (v *visitor) knock(ctx context.Context, n *world.Node) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.Door+"/doc/"+world.Document+"/api/query?limit=1", nil)
	if err != nil {
		return err
	}
	req.Close = true
	for name, value := range v.cookies {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("the door of %s: %w", n.Name, err)
	}
	defer resp.Body.Close()
	for _, c := range resp.Cookies() {
		v.cookies[c.Name] = c.Value
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the door of %s answers %s", n.Name, resp.Status)
	}
	return nil
}

// doors lets everybody knock at these doors, with the cookies of before.
func (s *stage) doors(ctx context.Context, nodes ...*world.Node) error {
	for i, v := range s.visitors {
		if err := v.knock(ctx, nodes[i%len(nodes)]); err != nil {
			return err
		}
	}
	return nil
}

// servesWithin gives doors a moment.
func (s *stage) servesWithin(ctx context.Context, limit time.Duration, nodes ...*world.Node) error {
	return world.Until(ctx, limit, "the doors serve", func(ctx context.Context) error { return s.doors(ctx, nodes...) })
}

// collect reads all that the ledger may be about.
func collect(ctx context.Context, c *admin.Client) (found, error) {
	f := found{aSetting: {}, aTask: {}, aToken: {}, aRun: {}}
	settings, err := c.Settings(ctx, admin.Page(1000, ""))
	if err != nil {
		return nil, err
	}
	for _, i := range settings.Items {
		f[aSetting][i.Key] = row{i.Value, i.Modified}
	}
	err = errors.Join(
		each(ctx, c.Tasks, func(t admin.Task) { f[aTask][t.Name] = row{t.Every.String(), t.Modified} }),
		each(ctx, c.Tokens, func(t admin.Token) { f[aToken][t.Name] = row{t.Role, t.Created} }),
		each(ctx, func(ctx context.Context, o ...admin.Option) (admin.List[admin.Occurrence], error) {
			return c.Occurrences(ctx, admin.OccurrenceFilter{Task: byHand}, o...)
		}, func(o admin.Occurrence) {
			if o.Manual {
				f[aRun][o.ID] = row{"manual", o.Created}
			}
		}),
	)
	return f, err
}

// each reads a list to its end.
func each[T any](ctx context.Context, page func(context.Context, ...admin.Option) (admin.List[T], error), do func(T)) error {
	for cursor := ""; ; {
		list, err := page(ctx, admin.Page(1000, cursor))
		if err != nil {
			return err
		}
		for _, item := range list.Items {
			do(item)
		}
		if cursor = list.Next; cursor == "" {
			return nil
		}
	}
}

// How many tokens are tried: of those that have to be good, and of the others, after some of
// which nobody from that address is let in for a while.
const (
	goodTried = 12
	badTried  = 2
)

// tokens tries API tokens: those that were acknowledged are good, those that are lost are not.
func (s *stage) tokens(ctx context.Context, n *world.Node, tries []try) error {
	good, bad := 0, 0
	for i := len(tries) - 1; i >= 0; i-- { // the newest first
		t := tries[i]
		lost := s.said.Revision != 0 && t.Revision > s.said.Revision
		count, most := &good, goodTried
		if lost {
			count, most = &bad, badTried
		}
		if t.Kind != aToken || !t.OK || *count >= most {
			continue
		}
		*count++
		err := whoami(ctx, n, t.Secret)
		var p *admin.Problem
		switch {
		case lost && err == nil:
			return fmt.Errorf("a token that was said to be lost is good: %s", t)
		case lost && (!errors.As(err, &p) || p.Status != http.StatusUnauthorized), !lost && err != nil:
			return fmt.Errorf("%s: %w", t, err)
		}
	}
	if s.alsoGood != "" {
		if err := whoami(ctx, n, s.alsoGood); err != nil {
			return fmt.Errorf("the admin token that was printed: %w", err)
		}
	}
	if err := whoami(ctx, n, s.w.AdminToken); err != nil {
		return fmt.Errorf("the first admin's token: %w", err)
	}
	return nil
}

func whoami(ctx context.Context, n *world.Node, token string) error {
	c, err := n.As(token)
	if err != nil {
		return err
	}
	defer c.Close()
	who, err := c.Whoami(ctx)
	if err == nil && who.Kind != "token" {
		err = fmt.Errorf("it counts as %s %s", who.Kind, who.ID)
	}
	return err
}

package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// Status asks how the cluster is. Without a quorum the answer is stale, and says so.
func (c *Client) Status(ctx context.Context, opts ...Option) (Status, error) {
	return get[Status](ctx, c, "/v1/status", opts)
}

// Cluster is the cluster's own row.
func (c *Client) Cluster(ctx context.Context, opts ...Option) (Cluster, error) {
	return get[Cluster](ctx, c, "/v1/cluster", opts)
}

// RenameCluster gives the cluster another name.
func (c *Client) RenameCluster(ctx context.Context, name string, opts ...Option) (Cluster, error) {
	return exchange[Cluster](ctx, c, http.MethodPost, "/v1/cluster/rename", Rename{Name: name}, opts)
}

// Central says which node schedules.
func (c *Client) Central(ctx context.Context, opts ...Option) (Central, error) {
	return get[Central](ctx, c, "/v1/central", opts)
}

// MoveCentral hands the role to another server, by name or ID; "" lets the cluster
// choose. It returns when the role has moved.
func (c *Client) MoveCentral(ctx context.Context, to string, opts ...Option) (Central, error) {
	return exchange[Central](ctx, c, http.MethodPost, "/v1/central/move", CentralMove{To: to}, opts)
}

// Whoami says how the API knows the caller.
func (c *Client) Whoami(ctx context.Context, opts ...Option) (Whoami, error) {
	return get[Whoami](ctx, c, "/v1/whoami", opts)
}

// Health needs no token. A node that is not healthy is no error: its Status says so.
func (c *Client) Health(ctx context.Context) (Health, error) {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	resp, err := c.send(ctx, http.MethodGet, "/v1/health", nil, newQuery(nil))
	if err != nil {
		return Health{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable {
		return Health{}, c.refusal(resp)
	}
	var h Health
	if err := c.decode(resp, &h); err != nil {
		return Health{}, err
	}
	if h.Status == "" {
		return Health{}, fmt.Errorf("%w at %s: something else is there", ErrUnreachable, c.where)
	}
	return h, nil
}

// OpenAPI is the API's description, as JSON.
func (c *Client) OpenAPI(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	resp, err := c.send(ctx, http.MethodGet, "/v1/openapi.json", nil, newQuery(nil))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, c.refusal(resp)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	return b, nil
}

// AuditFilter narrows an audit list; empty fields match all.
type AuditFilter struct {
	Action string // such as setting.set
	Actor  string // such as token:abcdefgh
	Target string
}

// Audit lists what people and programs asked for, newest first.
func (c *Client) Audit(ctx context.Context, f AuditFilter, opts ...Option) (List[Audit], error) {
	opts = append(opts, param("action", f.Action), param("actor", f.Actor), param("target", f.Target))
	return get[List[Audit]](ctx, c, "/v1/audit", opts)
}

// All follows the cursors of a list from its first page to its last. The answer's
// Meta is the first page's.
func All[T any](ctx context.Context, list func(context.Context, ...Option) (List[T], error), opts ...Option) (List[T], error) {
	var out List[T]
	cursor := ""
	for {
		page, err := list(ctx, append(opts[:len(opts):len(opts)], Page(maxLimit, cursor))...)
		if err != nil {
			return List[T]{}, err
		}
		if cursor == "" {
			out.Meta, out.Missing = page.Meta, page.Missing
		}
		out.Items = append(out.Items, page.Items...)
		if page.Next == "" {
			return out, nil
		}
		if page.Next == cursor {
			return List[T]{}, errors.New("the list does not end: cursor " + strconv.Quote(cursor) + " leads to itself")
		}
		cursor = page.Next
	}
}

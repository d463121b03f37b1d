package main

import (
	"context"

	"github.com/ushercluster/usher/agent/admin"
)

// lister is a method of the client that lists a collection.
type lister[T any] func(context.Context, ...admin.Option) (admin.List[T], error)

// listAll reads a whole collection; an empty one is [] in JSON, not null.
func listAll[T any](c *call, list lister[T]) (admin.List[T], error) {
	return ask(c, func(ctx context.Context) (admin.List[T], error) {
		l, err := admin.All(ctx, list)
		if l.Items == nil {
			l.Items = []T{}
		}
		return l, err
	})
}

// filtered gives a list with a filter the shape of one without.
func filtered[F, T any](list func(context.Context, F, ...admin.Option) (admin.List[T], error), f F) lister[T] {
	return func(ctx context.Context, opts ...admin.Option) (admin.List[T], error) { return list(ctx, f, opts...) }
}

// newest reads at most n items of a list that begins with the newest.
func newest[T any](c *call, n int, list lister[T]) (admin.List[T], error) {
	return ask(c, func(ctx context.Context) (admin.List[T], error) {
		l, err := list(ctx, admin.Page(n, ""))
		if l.Items == nil {
			l.Items = []T{}
		}
		return l, err
	})
}

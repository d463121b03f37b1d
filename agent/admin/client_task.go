package admin

import (
	"context"
	"net/http"
)

// Tasks lists the tasks, by name.
func (c *Client) Tasks(ctx context.Context, opts ...Option) (List[Task], error) {
	return get[List[Task]](ctx, c, "/v1/tasks", opts)
}

// Task is one task.
func (c *Client) Task(ctx context.Context, name string, opts ...Option) (Task, error) {
	return get[Task](ctx, c, "/v1/tasks/"+segment(name), opts)
}

// PutTask makes or changes a task.
func (c *Client) PutTask(ctx context.Context, name string, t TaskSpec, opts ...Option) (Task, error) {
	return exchange[Task](ctx, c, http.MethodPut, "/v1/tasks/"+segment(name), t, opts)
}

// RemoveTask deletes a task; its history stays.
func (c *Client) RemoveTask(ctx context.Context, name string, opts ...Option) error {
	_, err := exchange[Nothing](ctx, c, http.MethodDelete, "/v1/tasks/"+segment(name), nil, opts)
	return err
}

// RunTask asks for a run now and returns the occurrence that was made for it.
func (c *Client) RunTask(ctx context.Context, name string, opts ...Option) (Occurrence, error) {
	return exchange[Occurrence](ctx, c, http.MethodPost, "/v1/tasks/"+segment(name)+"/run", nil, opts)
}

// PauseTask stops a task; times that pass meanwhile are not made up for.
func (c *Client) PauseTask(ctx context.Context, name, reason string, opts ...Option) (Task, error) {
	return exchange[Task](ctx, c, http.MethodPost, "/v1/tasks/"+segment(name)+"/pause", Pause{Reason: reason}, opts)
}

// ResumeTask starts a paused task again.
func (c *Client) ResumeTask(ctx context.Context, name string, opts ...Option) (Task, error) {
	return exchange[Task](ctx, c, http.MethodPost, "/v1/tasks/"+segment(name)+"/resume", nil, opts)
}

// TaskOccurrences lists a task's occurrences, latest due first; also of a task
// that was removed.
func (c *Client) TaskOccurrences(ctx context.Context, name string, opts ...Option) (List[Occurrence], error) {
	return get[List[Occurrence]](ctx, c, "/v1/tasks/"+segment(name)+"/occurrences", opts)
}

// OccurrenceFilter narrows a list of occurrences; empty fields match all.
type OccurrenceFilter struct {
	Task  string
	State string // a state, or "open" for all that are not terminal
}

// Occurrences lists occurrences of all tasks, latest due first.
func (c *Client) Occurrences(ctx context.Context, f OccurrenceFilter, opts ...Option) (List[Occurrence], error) {
	opts = append(opts, param("task", f.Task), param("state", f.State))
	return get[List[Occurrence]](ctx, c, "/v1/occurrences", opts)
}

// Occurrence is one occurrence, by its ID.
func (c *Client) Occurrence(ctx context.Context, id string, opts ...Option) (Occurrence, error) {
	return get[Occurrence](ctx, c, "/v1/occurrences/"+segment(id), opts)
}

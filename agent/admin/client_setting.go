package admin

import (
	"context"
	"net/http"
)

// Settings lists every setting with its value in force, by key.
func (c *Client) Settings(ctx context.Context, opts ...Option) (List[Setting], error) {
	return get[List[Setting]](ctx, c, "/v1/settings", opts)
}

// Setting is one setting.
func (c *Client) Setting(ctx context.Context, key string, opts ...Option) (Setting, error) {
	return get[Setting](ctx, c, "/v1/settings/"+segment(key), opts)
}

// SetSetting gives a setting a value, in any accepted spelling.
func (c *Client) SetSetting(ctx context.Context, key, value string, opts ...Option) (Setting, error) {
	return exchange[Setting](ctx, c, http.MethodPut, "/v1/settings/"+segment(key), SettingValue{Value: value}, opts)
}

// UnsetSetting brings the default back.
func (c *Client) UnsetSetting(ctx context.Context, key string, opts ...Option) (Setting, error) {
	return exchange[Setting](ctx, c, http.MethodDelete, "/v1/settings/"+segment(key), nil, opts)
}

// ExportSettings is what ImportSettings takes: the settings that are set, or with
// all every setting with its value in force.
func (c *Client) ExportSettings(ctx context.Context, all bool, opts ...Option) (Settings, error) {
	if all {
		opts = append(opts, func(q *query) { q.values.Set("all", "") })
	}
	return get[Settings](ctx, c, "/v1/settings/export", opts)
}

// ImportSettings sets several settings, all or none.
func (c *Client) ImportSettings(ctx context.Context, s Settings, opts ...Option) (Settings, error) {
	return exchange[Settings](ctx, c, http.MethodPost, "/v1/settings/import", s, opts)
}

// SettingHistory lists who changed settings, newest first; key "" is all of them.
func (c *Client) SettingHistory(ctx context.Context, key string, opts ...Option) (List[Audit], error) {
	if key == "" {
		return get[List[Audit]](ctx, c, "/v1/settings-history", opts)
	}
	return get[List[Audit]](ctx, c, "/v1/settings/"+segment(key)+"/history", opts)
}

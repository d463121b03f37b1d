package admin

import (
	"context"
	"net/http"
)

// JoinTokens lists the join tokens.
func (c *Client) JoinTokens(ctx context.Context, opts ...Option) (List[JoinToken], error) {
	return get[List[JoinToken]](ctx, c, "/v1/join-tokens", opts)
}

// CreateJoinToken makes a join token. Its secret is in the answer and nowhere else.
func (c *Client) CreateJoinToken(ctx context.Context, s JoinTokenSpec, opts ...Option) (NewJoinToken, error) {
	return exchange[NewJoinToken](ctx, c, http.MethodPost, "/v1/join-tokens", s, opts)
}

// RevokeJoinToken ends a join token; nodes that came in on it stay.
func (c *Client) RevokeJoinToken(ctx context.Context, id string, opts ...Option) (JoinToken, error) {
	return exchange[JoinToken](ctx, c, http.MethodDelete, "/v1/join-tokens/"+segment(id), nil, opts)
}

// Tokens lists the API tokens.
func (c *Client) Tokens(ctx context.Context, opts ...Option) (List[Token], error) {
	return get[List[Token]](ctx, c, "/v1/tokens", opts)
}

// CreateToken makes an API token. Its secret is in the answer and nowhere else.
func (c *Client) CreateToken(ctx context.Context, s TokenSpec, opts ...Option) (NewToken, error) {
	return exchange[NewToken](ctx, c, http.MethodPost, "/v1/tokens", s, opts)
}

// RevokeToken ends an API token at once.
func (c *Client) RevokeToken(ctx context.Context, id string, opts ...Option) (Token, error) {
	return exchange[Token](ctx, c, http.MethodDelete, "/v1/tokens/"+segment(id), nil, opts)
}

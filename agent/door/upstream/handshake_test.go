package upstream

import (
	"errors"
	"net/http"
	"testing"
)

func TestValidHandshake(t *testing.T) {
	good := func() http.Header {
		return http.Header{"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"WebSocket"},
			"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
	}
	for _, tc := range []struct {
		name, method string
		change       func(http.Header)
		want         error
	}{
		{"good", "GET", func(http.Header) {}, nil},
		{"post", "POST", func(http.Header) {}, ErrHandshake},
		{"no connection", "GET", func(h http.Header) { h["Connection"] = []string{"keep-alive"} }, ErrHandshake},
		{"h2c", "GET", func(h http.Header) { h["Upgrade"] = []string{"h2c"} }, ErrHandshake},
		{"no upgrade", "GET", func(h http.Header) { delete(h, "Upgrade") }, ErrHandshake},
		{"version 8", "GET", func(h http.Header) { h["Sec-Websocket-Version"] = []string{"8"} }, ErrHandshakeVersion},
		{"no version", "GET", func(h http.Header) { delete(h, "Sec-Websocket-Version") }, ErrHandshakeVersion},
		{"no key", "GET", func(h http.Header) { delete(h, "Sec-Websocket-Key") }, ErrHandshake},
		{"two keys", "GET", func(h http.Header) {
			h["Sec-Websocket-Key"] = append(h["Sec-Websocket-Key"], "dGhlIHNhbXBsZSBub25jZQ==")
		}, ErrHandshake},
		{"short key", "GET", func(h http.Header) { h["Sec-Websocket-Key"] = []string{"dGhlIHNhbXBsZSBub25j"} }, ErrHandshake},
		{"long key", "GET", func(h http.Header) { h["Sec-Websocket-Key"] = []string{"dGhlIHNhbXBsZSBub25jZXh4"} }, ErrHandshake},
		{"loose bits in the key", "GET", func(h http.Header) { h["Sec-Websocket-Key"] = []string{"dGhlIHNhbXBsZSBub25jZR=="} }, ErrHandshake},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := good()
			tc.change(h)
			if err := ValidHandshake(tc.method, h); !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
		})
	}
}

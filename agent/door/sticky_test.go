package door

import (
	"strings"
	"testing"
)

func TestStickyAcrossDoors(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b := s.browser()
		defer b.leaveConnections()
		first := b.ok(s.nodes[0], "/")
		if first.seen.Hits != 1 || b.cookies[cookieName] == "" {
			t.Fatalf("first answer: %+v, cookies %v", first.seen, b.cookies)
		}
		was := b.cookies[cookieName]
		for i := range 9 {
			a := b.ok(s.nodes[i%3], "/page")
			if a.seen.Engine != first.seen.Engine || a.seen.Hits != i+2 {
				t.Fatalf("request %d went to %s as its %d., the session is at %s", i, a.seen.Engine, a.seen.Hits, first.seen.Engine)
			}
			if got := a.seen.Header.Get(fieldDoor); got != s.nodes[i%3].name {
				t.Errorf("engine saw the door %q, want %q", got, s.nodes[i%3].name)
			}
			if a.header.Get("Set-Cookie") != "" {
				t.Errorf("a cookie was set again: %q", a.header["Set-Cookie"])
			}
		}
		if b.cookies[cookieName] != was {
			t.Error("the cookie changed")
		}
		if n := s.sessions(); n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
		owner := s.named(first.seen.Engine)
		info := owner.door.Sessions(nil)[0]
		if info.Client != "10.9.0.1" || info.InFlight != 0 || !strings.HasPrefix(info.ID.String(), first.seen.Header.Get(fieldSession)) {
			t.Errorf("session at the owner: %+v; engine saw %q", info, first.seen.Header.Get(fieldSession))
		}
	})
}

func TestSpread(t *testing.T) {
	bubble(t, 3, func(s *site) {
		const users = 100
		for i := range users {
			b := s.browser()
			b.ok(s.nodes[i%3], "/")
			b.leaveConnections()
		}
		if n := s.sessions(); n != users {
			t.Errorf("%d sessions, want %d", n, users)
		}
		for _, nd := range s.nodes {
			if n := len(nd.door.Sessions(nil)); n < 29 || n > 38 {
				t.Errorf("%s has %d of %d sessions, want a third within 15 %%", nd.name, n, users)
			}
		}
	})
}

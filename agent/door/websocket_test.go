package door

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/ushercluster/usher/agent/peer"
)

// echo is a WebSocket engine.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		return
	}
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer c.CloseNow()
	for {
		kind, b, err := c.Read(context.Background())
		if err != nil {
			return
		}
		if err := c.Write(context.Background(), kind, append([]byte("echo "), b...)); err != nil {
			return
		}
	}
}

// talker is a user's WebSocket. It reads all the time, as browsers do: that is what
// answers pings.
type talker struct {
	*websocket.Conn
	heard chan string
	code  chan websocket.StatusCode // how it was closed
}

// dial opens a WebSocket with the browser's cookies.
func (b *browser) dial(nd *node, path string) (*talker, *http.Response, error) {
	h := http.Header{}
	for name, value := range b.cookies {
		h.Add("Cookie", name+"="+value)
	}
	c, resp, err := websocket.Dial(context.Background(), "ws://"+nd.ip+path, &websocket.DialOptions{HTTPClient: b.client, HTTPHeader: h})
	if err != nil {
		return nil, resp, err
	}
	w := &talker{c, make(chan string, 16), make(chan websocket.StatusCode, 1)}
	c.SetReadLimit(1 << 20)
	go func() {
		for {
			_, got, err := c.Read(context.Background())
			if err != nil {
				w.code <- websocket.CloseStatus(err)
				return
			}
			w.heard <- string(got)
		}
	}()
	return w, resp, nil
}

func (w *talker) say(t *testing.T, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := w.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		t.Errorf("write: %v", err)
		return
	}
	select {
	case got := <-w.heard:
		if got != "echo "+text {
			t.Errorf("answer to %.20q: %.20q", text, got)
		}
	case <-ctx.Done():
		t.Errorf("no answer to %.20q", text)
	}
}

func TestWebSocket(t *testing.T) {
	for _, where := range []string{"local", "remote"} {
		t.Run(where, func(t *testing.T) {
			bubble(t, 3, func(s *site) {
				s.change(func(c *Settings) { c.Session.IdleTimeout = time.Minute })
				b, owner := s.bound()
				defer b.leaveConnections()
				at := s.nodes[0]
				if where == "local" {
					at = owner
				}
				for _, nd := range s.nodes {
					nd.engine.on(echo)
				}
				c, resp, err := b.dial(at, "/ws")
				if err != nil {
					t.Fatal(err)
				}
				if resp.Header.Get("Set-Cookie") != "" {
					t.Error("a cookie was set again")
				}
				c.say(t, "hello")
				c.say(t, strings.Repeat("x", 20_000))
				info := owner.door.Sessions(nil)
				if len(info) != 1 || info[0].WebSockets != 1 || info[0].InFlight != 0 {
					t.Errorf("at the owner: %+v", info)
				}
				if l := owner.door.Loads()[0]; l.InFlight != 0 {
					t.Errorf("an idle WebSocket counts as work: %+v", l)
				}
				time.Sleep(10 * time.Minute) // pinged all the while; its session is not idle
				c.say(t, "still here")
				if n := len(owner.door.Sessions(nil)); n != 1 {
					t.Errorf("%d sessions", n)
				}
				if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
					t.Errorf("close: %v", err)
				}
				synctest.Wait()
				if info = owner.door.Sessions(nil); len(info) != 1 || info[0].WebSockets != 0 {
					t.Errorf("after the end: %+v", info)
				}
				if n := at.door.Counters().WebSockets; n != 0 {
					t.Errorf("%d WebSockets counted", n)
				}
			})
		})
	}
}

// The first thing of a session may be a WebSocket; the cookie comes with the 101.
func TestWebSocketOpensSession(t *testing.T) {
	bubble(t, 2, func(s *site) {
		for _, nd := range s.nodes {
			nd.engine.on(echo)
		}
		b := s.browser()
		defer b.leaveConnections()
		c, resp, err := b.dial(s.nodes[0], "/ws")
		if err != nil {
			t.Fatal(err)
		}
		c.say(t, "hello")
		if !strings.HasPrefix(resp.Header.Get("Set-Cookie"), "usher=") {
			t.Errorf("cookies: %q", resp.Header["Set-Cookie"])
		}
		_ = c.Close(websocket.StatusNormalClosure, "")
	})
}

func TestWebSocketRefusedByEngine(t *testing.T) {
	bubble(t, 2, func(s *site) {
		for _, nd := range s.nodes {
			nd.engine.on(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) })
		}
		b := s.browser()
		defer b.leaveConnections()
		for _, nd := range s.nodes {
			_, resp, err := b.dial(nd, "/ws")
			if err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
				t.Errorf("%v, %v", resp, err)
			}
		}
	})
}

func TestWebSocketCloses(t *testing.T) {
	cases := []struct {
		name string
		do   func(s *site, owner *node)
		want websocket.StatusCode
	}{
		{"the door stops", func(s *site, _ *node) { go s.nodes[0].door.Shutdown(context.Background()) }, 1001},
		{"the owner stops", func(_ *site, owner *node) { go owner.door.Shutdown(context.Background()) }, 1001},
		{"the session is closed", func(_ *site, owner *node) {
			owner.door.CloseSession(owner.door.Sessions(nil)[0].ID)
		}, 1012},
		{"the session's life is over", func(s *site, _ *node) {
			s.change(func(c *Settings) { c.Session.MaxLife = 10 * time.Minute })
			time.Sleep(11 * time.Minute)
		}, 1012},
		{"gossip gives the owner up", func(s *site, owner *node) {
			s.net.Isolate(owner.host)
			s.gossip(owner, peer.StatusFailed)
			time.Sleep(2 * time.Second)
		}, 1012},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, 3, func(s *site) {
				b, owner := s.bound()
				defer b.leaveConnections()
				owner.engine.on(echo)
				ws, _, err := b.dial(s.nodes[0], "/ws")
				if err != nil {
					t.Fatal(err)
				}
				ws.say(t, "hello")
				c.do(s, owner)
				select {
				case got := <-ws.code:
					if got != c.want {
						t.Errorf("closed with %d, want %d", got, c.want)
					}
				case <-time.After(time.Minute):
					t.Error("the WebSocket is open still")
				}
				_ = ws.CloseNow()
				s.net.HealAll()
			})
		})
	}
}

// A user in the middle of something has the grace to finish, and no more.
func TestShutdownWaitsForWebSockets(t *testing.T) {
	bubble(t, 1, func(s *site) {
		s.nodes[0].engine.on(echo)
		c, err := s.users.DialContext(context.Background(), "tcp", s.nodes[0].ip+":80")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = c.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"))
		if n, err := c.Read(make([]byte, 4096)); err != nil || n == 0 {
			t.Fatal(n, err)
		}
		synctest.Wait()
		began := time.Now()
		if err := s.nodes[0].door.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < time.Second || took > closeGrace+time.Second {
			t.Errorf("the shutdown took %s; the user never answered the close", took)
		}
	})
}

func TestWebSocketIdle(t *testing.T) {
	bubble(t, 2, func(s *site) {
		s.change(func(c *Settings) { c.Traffic.WebSocketIdle = 5 * time.Minute })
		b, owner := s.bound()
		defer b.leaveConnections()
		owner.engine.on(echo)
		ws, _, err := b.dial(s.nodes[0], "/ws")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for range 4 {
			time.Sleep(4 * time.Minute)
			ws.say(t, "x")
		}
		if code := <-ws.code; code != closeGoingAway {
			t.Errorf("closed with %d", code)
		}
		if took := time.Since(began); took < 21*time.Minute || took > 22*time.Minute {
			t.Errorf("closed after %s", took)
		}
		_ = ws.CloseNow()
	})
}

package builtin

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// browser is a client with a cookie and a WebSocket.
type browser struct {
	t      *testing.T
	client *http.Client
	cookie string
	ws     *websocket.Conn
}

func (b *browser) connect(key string) *http.Response {
	b.t.Helper()
	h := http.Header{"Origin": {"http://demo.test"}}
	if b.cookie != "" {
		h.Set("Cookie", b.cookie)
	}
	ws, res, err := websocket.Dial(b.t.Context(), "ws://demo.test/doc/"+key+"/ws", &websocket.DialOptions{HTTPClient: b.client, HTTPHeader: h})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range res.Cookies() {
		b.cookie = c.Name + "=" + c.Value
	}
	b.ws = ws
	return res
}

func (b *browser) say(msg string) stateMessage {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	if err := b.ws.Write(ctx, websocket.MessageText, []byte(msg)); err != nil {
		b.t.Fatal(err)
	}
	_, answer, err := b.ws.Read(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	var st stateMessage
	if err := json.Unmarshal(answer, &st); err != nil {
		b.t.Fatal(err)
	}
	return st
}

func (b *browser) want(msg string, want stateMessage) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.say(msg)); diff != "" {
		b.t.Errorf("%s: %s", msg, diff)
	}
}

func ages(n string) map[string]json.Number { return map[string]json.Number{"age": json.Number(n)} }

func TestSelections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newServer(t, map[string]string{"people": people}, nil)
		client, _, stop := listen(t, s)
		defer stop()
		b := &browser{t: t, client: client}
		b.connect("people")
		b.want(`{}`, stateMessage{Rows: 3, Sums: ages("76"), Selections: Selections{}, Requests: 1})
		red := Selections{"team": {"red"}}
		b.want(`{"select":{"team":["red","red"]}}`, stateMessage{Rows: 2, Sums: ages("36"), Selections: red, Requests: 2})
		b.want(`{"select":{"name":["Ada","Bob"]}}`, stateMessage{Rows: 1, Sums: ages("36"), Requests: 3,
			Selections: Selections{"team": {"red"}, "name": {"Ada", "Bob"}}})
		b.want(`{"select":{"name":[]}}`, stateMessage{Rows: 2, Sums: ages("36"), Selections: red, Requests: 4})
		b.want(`{"select":{"color":["x"]}}`, stateMessage{Rows: 2, Sums: ages("36"), Selections: red, Requests: 5,
			Error: `select "color": no such column`})
		_ = b.ws.CloseNow()

		// The same browser at the same engine finds its work again.
		if res := b.connect("people"); len(res.Cookies()) != 0 {
			t.Error("a known session got a new cookie")
		}
		b.want(`{}`, stateMessage{Rows: 2, Sums: ages("36"), Selections: red, Requests: 6})
		_ = b.ws.CloseNow()

		// Another engine knows nothing of it: that is why sessions must stick.
		other, _ := newServer(t, map[string]string{"people": people}, nil)
		client, _, stopOther := listen(t, other)
		defer stopOther()
		b.client = client
		b.connect("people")
		b.want(`{}`, stateMessage{Rows: 3, Sums: ages("76"), Selections: Selections{}, Requests: 1})
		_ = b.ws.CloseNow()
		synctest.Wait()
		if c := s.Counters(); c.WebSockets != 0 || c.WebSocketsOpened != 2 || c.SessionsCreated != 1 {
			t.Errorf("counters %+v", c)
		}
	})
}

func TestSelectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newServer(t, map[string]string{"people": people}, nil)
		client, _, stop := listen(t, s)
		defer stop()
		b := &browser{t: t, client: client}
		b.connect("people")
		values := make([]string, maxSelected+1)
		for i := range values {
			values[i] = strings.Repeat("x", i%9) + string(rune('a'+i%26)) + time.Duration(i).String()
		}
		msg, _ := json.Marshal(selectMessage{Select: Selections{"name": values}})
		if st := b.say(string(msg)); !strings.Contains(st.Error, "at most") || len(st.Selections) != 0 {
			t.Errorf("got %+v", st)
		}
		if err := b.ws.Write(t.Context(), websocket.MessageText, []byte("not json")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
			t.Errorf("got %v", err)
		}
		b.connect("people")
		if err := b.ws.Write(t.Context(), websocket.MessageText, make([]byte, maxMessage+1)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
			t.Errorf("got %v", err)
		}
	})
}

func TestSessionsIdleOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newServer(t, map[string]string{"people": people}, func(o *Options) { o.SessionIdle = 10 * time.Minute })
		client, _, stop := listen(t, s)
		defer stop()
		b := &browser{t: t, client: client}
		b.connect("people")
		b.say(`{"select":{"team":["red"]}}`)
		time.Sleep(9 * time.Minute)
		if st := b.say(`{}`); st.Rows != 2 {
			t.Errorf("within the idle time: %d rows", st.Rows)
		}
		time.Sleep(9 * time.Minute)
		get(s, "/healthz") // a probe sweeps
		if c := s.Counters(); c.Sessions != 1 {
			t.Errorf("%d sessions while a WebSocket talks", c.Sessions)
		}
		spoken := time.Now().Add(-9 * time.Minute)
		if _, _, err := b.ws.Read(t.Context()); err == nil || time.Since(spoken) != 10*time.Minute {
			t.Errorf("a silent WebSocket ended after %v: %v", time.Since(spoken), err)
		}
		time.Sleep(12 * time.Minute)
		get(s, "/healthz")
		if c := s.Counters(); c.Sessions != 0 || c.WebSockets != 0 {
			t.Errorf("counters %+v", c)
		}
		old := b.cookie
		b.connect("people")
		if b.cookie == old {
			t.Error("a forgotten session kept its cookie")
		}
		if st := b.say(`{}`); st.Rows != 3 {
			t.Errorf("a forgotten session kept its selections: %d rows", st.Rows)
		}
		_ = b.ws.CloseNow()
	})
}

func TestAnOpenWebSocketIsNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newServer(t, map[string]string{"people": people}, func(o *Options) { o.SessionIdle = 10 * time.Minute })
		client, _, stop := listen(t, s)
		defer stop()
		b := &browser{t: t, client: client, cookie: cookieName + "=" + get(s, "/").Result().Cookies()[0].Value}
		time.Sleep(9 * time.Minute)
		b.connect("people") // and says nothing
		time.Sleep(5 * time.Minute)
		get(s, "/healthz")
		if n := s.Counters().Sessions; n != 1 {
			t.Errorf("%d sessions while a WebSocket is open", n)
		}
		_ = b.ws.CloseNow()
		synctest.Wait()
		time.Sleep(time.Minute)
		get(s, "/healthz")
		if n := s.Counters().Sessions; n != 0 {
			t.Errorf("%d sessions after it was closed", n)
		}
	})
}

func TestSessionsAreBounded(t *testing.T) {
	s, _ := newServer(t, nil, nil)
	for range maxSessions + 50 {
		get(s, "/")
	}
	if c := s.Counters(); c.Sessions > maxSessions || c.SessionsCreated != maxSessions+50 {
		t.Errorf("%d sessions of %d", c.Sessions, c.SessionsCreated)
	}
}

func TestCloseSaysGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newServer(t, map[string]string{"people": people}, nil)
		client, _, stop := listen(t, s)
		defer stop()
		b := &browser{t: t, client: client}
		b.connect("people")
		b.say(`{}`)
		read := make(chan error)
		go func() {
			_, _, err := b.ws.Read(t.Context())
			read <- err
		}()
		closed := make(chan error)
		go func() { closed <- s.Close() }()
		if err := <-read; websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("got %v, want 1001", err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if n := s.Counters().WebSockets; n != 0 {
			t.Errorf("%d WebSockets after Close", n)
		}
	})
}

func TestSameOrigin(t *testing.T) {
	for name, tc := range map[string]struct {
		origin, host, forwarded string
		want                    bool
	}{
		"no browser":        {"", "demo.test", "", true},
		"same":              {"http://demo.test:8080", "demo.test:8080", "", true},
		"case":              {"https://Demo.Test", "demo.test", "", true},
		"other":             {"http://evil.test", "demo.test", "", false},
		"other port":        {"http://demo.test:81", "demo.test", "", false},
		"opaque":            {"null", "demo.test", "", false},
		"behind a door":     {"https://bi.example", "127.0.0.1:4000", "bi.example", true},
		"other at the door": {"https://evil.test", "127.0.0.1:4000", "bi.example", false},
	} {
		r, _ := http.NewRequest(http.MethodGet, "http://"+tc.host+"/", nil)
		r.Header.Set("Origin", tc.origin)
		r.Header.Set("X-Forwarded-Host", tc.forwarded)
		if tc.origin == "" {
			r.Header.Del("Origin")
		}
		if got := sameOrigin(r); got != tc.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

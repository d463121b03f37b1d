package builtin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/ushercluster/usher/agent/logs"
)

const (
	maxMessage   = 64 << 10
	writeTimeout = 10 * time.Second
)

// selectMessage is what a browser sends: columns to change, an empty list to
// take a selection away. {} asks for the state as it is.
type selectMessage struct {
	Select Selections `json:"select"`
}

// stateMessage is the answer to it. Error is set when the change was refused;
// the rest is then the state as it stayed.
type stateMessage struct {
	Rows       int                    `json:"rows"`
	Sums       map[string]json.Number `json:"sums"`
	Selections Selections             `json:"selections"`
	Requests   int64                  `json:"requests"`
	Error      string                 `json:"error,omitempty"`
}

func (s *Server) webSocket(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	if _, err := s.library.open(r.Context(), key); err != nil {
		s.refuse(w, key, err)
		return
	}
	if !sameOrigin(r) {
		http.Error(w, "cross-origin WebSocket refused", http.StatusForbidden)
		return
	}
	release, ok := s.life.hold()
	if !ok {
		s.refuse(w, key, errClosed)
		return
	}
	defer release()
	ss, err := s.sessions.enter(w, r)
	if err != nil {
		s.refuse(w, key, err)
		return
	}
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // the origin was checked
	if err != nil {
		s.log.Debug().Err(err).Msg("websocket refused")
		return
	}
	ss.hold(1)
	defer ss.hold(-1)
	s.webSockets.Add(1)
	s.webSocketsOpened.Add(1)
	defer s.webSockets.Add(-1)
	s.converse(c, ss, key)
}

// converse answers messages until either side ends or the session idles out.
func (s *Server) converse(c *websocket.Conn, ss *session, key string) {
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(maxMessage)
	closed := make(chan struct{})
	stop := context.AfterFunc(s.life.ctx, func() {
		defer close(closed)
		_ = c.Close(websocket.StatusGoingAway, "the engine stops")
	})
	defer func() {
		if !stop() {
			<-closed
		}
	}()
	for {
		// Not the life's context: it would cut the connection before the close
		// frame above is out.
		ctx, cancel := context.WithTimeout(context.Background(), s.o.SessionIdle)
		_, msg, err := c.Read(ctx)
		cancel()
		if err != nil {
			return
		}
		if err := s.answer(c, ss, key, msg); err != nil {
			s.log.Debug().Str(logs.Document, key).Str(logs.Session, ss.short()).Err(err).Msg("websocket ended")
			return
		}
	}
}

// answer handles one message. An error ends the conversation.
func (s *Server) answer(c *websocket.Conn, ss *session, key string, msg []byte) error {
	ctx, cancel := context.WithTimeout(s.life.ctx, writeTimeout)
	defer cancel()
	var m selectMessage
	if err := json.Unmarshal(msg, &m); err != nil {
		_ = c.Close(websocket.StatusUnsupportedData, "not a JSON message")
		return fmt.Errorf("read message: %w", err)
	}
	t, err := s.library.open(ctx, key)
	if err != nil {
		return err
	}
	requests := ss.touch(s.o.Now())
	refused := t.check(m.Select)
	if refused == nil {
		refused = ss.choose(key, m.Select)
	}
	out, err := t.state(ss.selected(key))
	if err != nil {
		return err
	}
	out.Requests = requests
	if refused != nil {
		out.Error = refused.Error()
	}
	b, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	// Not the life's context, as above: ended amid the write, it would cut the connection.
	ctx, cancelWrite := context.WithTimeout(context.Background(), writeTimeout)
	defer cancelWrite()
	return c.Write(ctx, websocket.MessageText, b)
}

// check reports a selection of a column that the table lacks.
func (t *Table) check(sel Selections) error {
	for name := range sel {
		if _, ok := t.column(name); !ok {
			return fmt.Errorf("select %q: %w", name, ErrNoColumn)
		}
	}
	return nil
}

// state evaluates selections. Those of columns that a reload took away do not
// count and are not shown.
func (t *Table) state(sel Selections) (stateMessage, error) {
	for name := range sel {
		if _, ok := t.column(name); !ok {
			delete(sel, name)
		}
	}
	ans, err := t.Query(Query{Where: sel, Sums: t.numeric()})
	if err != nil {
		return stateMessage{}, err
	}
	return stateMessage{Rows: ans.Rows, Sums: ans.Sums, Selections: sel}, nil
}

// sameOrigin reports whether a browser's page may open this WebSocket. Browsers
// always send Origin and no page can forge X-Forwarded-Host on a WebSocket, so
// the host that the front door saw counts as well.
func sameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true // not a browser
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	return strings.EqualFold(u.Host, r.Host) || strings.EqualFold(u.Host, r.Header.Get("X-Forwarded-Host"))
}

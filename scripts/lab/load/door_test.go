package load

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

const document = "sales"

func documents(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, document+".csv"), []byte("region,amount\nnorth,1\nsouth,2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// user is a door: a cookie leads to the engine that the session has.
func (n *fakeNode) user(w http.ResponseWriter, r *http.Request) {
	owner, id, dead := n.c.place(n, r)
	if dead {
		panic(http.ErrAbortHandler)
	}
	to, err := url.Parse(owner.engine.URL)
	if err != nil {
		panic(err)
	}
	p := httputil.NewSingleHostReverseProxy(to)
	p.ModifyResponse = func(resp *http.Response) error {
		resp.Header.Set("X-Usher-Node", owner.name)
		resp.Header.Add("Set-Cookie", (&http.Cookie{Name: "usher", Value: id}).String())
		return nil
	}
	p.ServeHTTP(w, r)
}

// place finds the session's engine; dead: this door is.
func (c *cluster) place(door *fakeNode, r *http.Request) (owner *fakeNode, id string, dead bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, err := r.Cookie("usher"); err == nil {
		id = k.Value
	}
	n, ok := c.sessions[id]
	if !ok {
		c.next++
		id, n = strconv.Itoa(c.next), c.next%len(c.nodes)
	}
	if c.wander && c.next > 15 {
		c.next++
		n = c.next % len(c.nodes)
	}
	for c.nodes[n].dead {
		n = (n + 1) % len(c.nodes)
	}
	c.sessions[id] = n
	return c.nodes[n], id, door.dead
}

// kill has a node refuse everything, and cuts its users off.
func (c *cluster) kill(n *fakeNode, dead bool) {
	c.mu.Lock()
	n.dead = dead
	c.mu.Unlock()
	if dead {
		n.users.cut()
	}
}

// listener remembers its connections, also those that became WebSockets.
type listener struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.conns = append(l.conns, c)
		l.mu.Unlock()
	}
	return c, err
}

// cut breaks all of them.
func (l *listener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
}

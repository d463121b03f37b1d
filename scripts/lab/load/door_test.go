package load

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
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
	if c.wander && c.next > 20 {
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
		n.door.CloseClientConnections()
	}
}

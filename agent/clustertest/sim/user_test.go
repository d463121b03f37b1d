package sim

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/ushercluster/usher/agent/admin"
)

const userCount = 12

// user has a session and uses it through any door.
type user struct {
	f      *fleet
	name   string
	rng    *rand.Rand
	client *http.Client
	jar    map[string]*http.Cookie // by name: all doors are one site to the user
	engine string                  // name of its node

	good, bad int
}

// newUser opens a session.
func newUser(f *fleet, i int) *user {
	f.t.Helper()
	u := &user{f: f, name: fmt.Sprintf("user %d", i), rng: dice(f.seed, fmt.Sprintf("user %d", i)), client: f.Browser(), jar: map[string]*http.Cookie{}}
	if status, node := u.ask(f.t.Context(), i%len(f.nodes)); status != http.StatusOK || node == "" {
		f.t.Fatalf("a new session: status %d from %q", status, node)
	}
	return u
}

// ask makes one request at a door.
func (u *user) ask(ctx context.Context, door int) (status int, node string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.f.nodes[door].Door()+"/doc/sales", nil)
	if err != nil {
		u.f.t.Error(err)
		return 0, ""
	}
	for _, c := range u.jar {
		req.AddCookie(c)
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	for _, c := range resp.Cookies() {
		u.jar[c.Name] = c
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, ""
	}
	if node = resp.Header.Get("X-Usher-Node"); resp.StatusCode == http.StatusOK {
		u.engine = node
	}
	return resp.StatusCode, node
}

// work uses the session until ctx ends.
func (u *user) work(ctx context.Context) {
	for pause(ctx, 500*time.Millisecond+time.Duration(u.rng.Int64N(int64(3*time.Second)))) {
		door, before := u.rng.IntN(len(u.f.nodes)), u.engine
		if u.f.agents[door].Load() == nil {
			continue
		}
		status, node := u.ask(ctx, door)
		if status != http.StatusOK {
			u.bad++
			continue
		}
		u.good++
		if spared := u.f.spared; spared >= 0 && before == u.f.nodes[spared].Name && node != before {
			u.f.fail("%s was moved from %s, to which nothing had happened, to %s", u.name, before, node)
		}
	}
}

// sessionsWithin is how long after the last fault every session must be served, at every
// door by the same engine.
const sessionsWithin = 10 * time.Second

// settle checks that it is.
func (u *user) settle() {
	began := time.Now()
	for time.Since(began) < sessionsWithin {
		if u.steady() {
			if took := time.Since(began); took > time.Second {
				u.f.log("%s was sent to and fro for %v", u.name, took)
			}
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	u.f.fail("%s is not served by one engine at every door, %v after the last fault%s", u.name, sessionsWithin, u.f.sights())
}

// sights are what the nodes think of each other.
func (f *fleet) sights() string {
	var b strings.Builder
	for i, n := range f.nodes {
		list, err := f.apis[i].Nodes(f.t.Context(), admin.Stale())
		if err != nil {
			fmt.Fprintf(&b, "; %s: %v", n.Name, err)
			continue
		}
		fmt.Fprintf(&b, "; %s sees", n.Name)
		for _, other := range list.Items {
			fmt.Fprintf(&b, " %s %s", other.Name, other.Status)
		}
	}
	return b.String()
}

func (u *user) steady() bool {
	status, first := u.ask(u.f.t.Context(), 0)
	for door := range u.f.nodes {
		s, node := u.ask(u.f.t.Context(), door)
		if s != http.StatusOK || status != http.StatusOK || node != first {
			return false
		}
	}
	return true
}

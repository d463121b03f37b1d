package load

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/engine"
	"github.com/ushercluster/usher/agent/engine/builtin"
)

// cluster is a cluster that is right, in memory: all its nodes show one state, and each
// has an engine and a door.
type cluster struct {
	mu       sync.Mutex
	revision uint64
	settings map[string]admin.Setting
	tasks    map[string]admin.TaskSpec
	paused   bool
	runs     []admin.Occurrence
	sessions map[string]int // owner by the door's cookie
	nodes    []*fakeNode
	next     int

	forget   bool // seeded: an acknowledged write is not kept
	swapAll  bool // seeded: If-Match is not looked at
	unmarked bool // seeded: stale answers have no label
	twice    bool // seeded: a run starts its attempt twice
	wander   bool // seeded: sessions move for no reason
}

type fakeNode struct {
	c                 *cluster
	name              string
	n                 int
	api, door, engine *httptest.Server
	users             *listener // of the door
	dead              bool
}

func newCluster(t *testing.T, nodes int) *cluster {
	t.Helper()
	c := &cluster{settings: map[string]admin.Setting{}, tasks: map[string]admin.TaskSpec{}, sessions: map[string]int{}}
	dir := documents(t)
	for i := range nodes {
		n := &fakeNode{c: c, name: fmt.Sprintf("n%d", i+1), n: i}
		e, err := builtin.New(builtin.Options{Dir: dir, Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		n.engine = httptest.NewServer(e)
		n.api, n.door = httptest.NewServer(n.routes()), httptest.NewUnstartedServer(http.HandlerFunc(n.user))
		n.users = &listener{Listener: n.door.Listener}
		n.door.Listener = n.users
		n.door.Start()
		t.Cleanup(func() {
			n.api.Close()
			_ = e.Close() // before the door, which waits for its WebSockets
			n.users.cut()
			n.door.Close()
			n.engine.Close()
		})
		c.nodes = append(c.nodes, n)
	}
	return c
}

func (c *cluster) config() []Node {
	var out []Node
	for _, n := range c.nodes {
		out = append(out, Node{Name: n.name, API: n.api.URL, Door: strings.TrimPrefix(n.door.URL, "http://"), Token: "secret"})
	}
	return out
}

func (n *fakeNode) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/settings", n.listSettings)
	mux.HandleFunc("GET /v1/settings/{key}", n.getSetting)
	mux.HandleFunc("PUT /v1/settings/{key}", n.putSetting)
	mux.HandleFunc("PUT /v1/tasks/{name}", n.putTask)
	mux.HandleFunc("POST /v1/tasks/{name}/run", n.runTask)
	mux.HandleFunc("POST /v1/tasks/{name}/pause", func(w http.ResponseWriter, _ *http.Request) {
		n.c.paused = true
		n.answer(w, 200, admin.Task{})
	})
	mux.HandleFunc("GET /v1/occurrences", n.listRuns)
	mux.HandleFunc("GET /v1/nodes", func(w http.ResponseWriter, _ *http.Request) {
		n.answer(w, 200, admin.List[admin.Node]{Items: []admin.Node{{Name: n.name}}})
	})
	mux.HandleFunc("GET /v1/nodes/{name}", func(w http.ResponseWriter, _ *http.Request) {
		n.answer(w, 200, admin.Node{Name: n.name, Engines: []admin.Engine{{URL: n.engine.URL}}})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.c.mu.Lock()
		defer n.c.mu.Unlock()
		switch {
		case n.dead:
			n.refuse(w, 503, admin.CodeNoQuorum)
		case r.Header.Get("Authorization") != "Bearer secret":
			n.refuse(w, 401, admin.CodeUnauthenticated)
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

func (n *fakeNode) answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Usher-Index", strconv.FormatUint(n.c.revision, 10))
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (n *fakeNode) refuse(w http.ResponseWriter, status int, code admin.Code) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(admin.Problem{Status: status, Code: code, Detail: "it is so"})
}

func (n *fakeNode) getSetting(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("stale") && !n.c.unmarked {
		w.Header().Set("X-Usher-Stale", "true")
	}
	s, ok := n.c.settings[r.PathValue("key")]
	if !ok {
		s = admin.Setting{Key: r.PathValue("key"), Value: "5m0s"}
	}
	n.answer(w, 200, s)
}

func (n *fakeNode) putSetting(w http.ResponseWriter, r *http.Request) {
	var in admin.SettingValue
	key := r.PathValue("key")
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		n.refuse(w, 400, admin.CodeInvalid)
		return
	}
	old := n.c.settings[key]
	if m := r.Header.Get("If-Match"); m != "" && m != `"`+strconv.FormatUint(old.Modified, 10)+`"` && !n.c.swapAll {
		n.refuse(w, 412, admin.CodePrecondition)
		return
	}
	n.c.revision++
	row := admin.Setting{Key: key, Value: in.Value, Row: admin.Row{Modified: n.c.revision}}
	if !n.c.forget || n.c.revision%10 != 0 {
		n.c.settings[key] = row
	}
	n.answer(w, 200, row)
}

func (n *fakeNode) listSettings(w http.ResponseWriter, _ *http.Request) {
	var l admin.List[admin.Setting]
	for _, s := range n.c.settings {
		l.Items = append(l.Items, s)
	}
	n.answer(w, 200, l)
}

func (n *fakeNode) putTask(w http.ResponseWriter, r *http.Request) {
	var in admin.TaskSpec
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		n.refuse(w, 400, admin.CodeInvalid)
		return
	}
	n.c.tasks[r.PathValue("name")] = in
	n.c.addRun(r.PathValue("name"), false) // the schedule's only one
	n.answer(w, 200, admin.Task{Name: r.PathValue("name")})
}

// addRun makes an occurrence and has an engine run it.
func (c *cluster) addRun(task string, manual bool) admin.Occurrence {
	c.revision++
	n := c.nodes[int(c.revision)%len(c.nodes)]
	due := time.Unix(int64(c.revision), 0).UTC()
	o := admin.Occurrence{
		ID: task + "@" + due.Format(time.RFC3339Nano), Task: task, Due: due, Manual: manual, State: "succeeded", Attempt: 1,
		Fence: c.revision, Node: &admin.Ref{Name: n.name}, Started: due, Ended: due,
	}
	n.reload(o)
	if c.twice && manual {
		c.nodes[int(c.revision+1)%len(c.nodes)].reload(o)
	}
	c.runs = append(c.runs, o)
	return o
}

func (n *fakeNode) reload(o admin.Occurrence) {
	b, _ := json.Marshal(engine.ReloadRequest{Document: document, Task: o.Task, Occurrence: o.Due, Attempt: o.Attempt, Fence: o.Fence, TimeoutSeconds: 60})
	resp, err := http.Post(n.engine.URL+"/.well-known/usher/reload", "application/json", strings.NewReader(string(b)))
	if err == nil {
		resp.Body.Close()
	}
}

func (n *fakeNode) runTask(w http.ResponseWriter, r *http.Request) {
	n.answer(w, 201, n.c.addRun(r.PathValue("name"), true))
}

func (n *fakeNode) listRuns(w http.ResponseWriter, r *http.Request) {
	l := admin.List[admin.Occurrence]{Items: n.c.runs}
	if r.URL.Query().Get("state") == "open" {
		l.Items = nil
	}
	n.answer(w, 200, l)
}

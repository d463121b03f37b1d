package clustertest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// tab is one document in a browser.
type tab struct {
	t        *testing.T
	client   *http.Client
	document string
	node     string // whose engine it is on
}

// load gets the document's page at a door.
func (b *tab) load(at *Node) {
	b.t.Helper()
	resp := b.get(at, "/doc/"+b.document)
	if node := resp.Header.Get("X-Usher-Node"); b.node != "" && node != b.node {
		b.t.Errorf("%s moved from %s to %s", b.document, b.node, node)
	} else {
		b.node = node
	}
}

func (b *tab) get(at *Node, path string) *http.Response {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, at.Door()+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Host = "bi.example.test"
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s at %s: status %d, %v", path, at.Name, resp.StatusCode, err)
	}
	return resp
}

// memory is what the engine remembers of the session.
type memory struct {
	Rows       int                 `json:"rows"`
	Requests   int                 `json:"requests"`
	Selections map[string][]string `json:"selections"`
}

// say sends one message over a WebSocket of its own.
func (b *tab) say(at *Node, message string) memory {
	b.t.Helper()
	ws, _, err := websocket.Dial(b.t.Context(), at.Door()+"/doc/"+b.document+"/ws", &websocket.DialOptions{HTTPClient: b.client, Host: "bi.example.test"})
	if err != nil {
		b.t.Fatalf("open a WebSocket of %s at %s: %v", b.document, at.Name, err)
	}
	defer func() { _ = ws.Close(websocket.StatusNormalClosure, "") }()
	if err := ws.Write(b.t.Context(), websocket.MessageText, []byte(message)); err != nil {
		b.t.Fatal(err)
	}
	_, answer, err := ws.Read(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	var m memory
	if err := json.Unmarshal(answer, &m); err != nil {
		b.t.Fatalf("%q: %v", answer, err)
	}
	return m
}

// oneName makes all doors one host to the jar, as a load balancer does.
type oneName struct{ http.CookieJar }

func (oneName) site() *url.URL { return &url.URL{Scheme: "http", Host: "bi.example.test", Path: "/"} }

func (j oneName) Cookies(*url.URL) []*http.Cookie         { return j.CookieJar.Cookies(j.site()) }
func (j oneName) SetCookies(_ *url.URL, c []*http.Cookie) { j.CookieJar.SetCookies(j.site(), c) }

// TestTabsOnTwoEnginesKeepBothMemories: in document scope a browser's documents are on
// different engines, whose own cookies have one name and one path.
func TestTabsOnTwoEnginesKeepBothMemories(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 2)
		set(t, c.Node(1), "session.scope", "document")
		set(t, c.Node(1), "door.show_node", "true")
		c.WaitSame()
		time.Sleep(2 * time.Second)

		jar, _ := cookiejar.New(nil) // fails never
		client := c.Browser()
		client.Jar = oneName{jar}
		one := &tab{t: t, client: client, document: "sales"}
		other := &tab{t: t, client: client, document: "people"}
		one.load(c.Node(1))
		time.Sleep(2 * time.Second) // the other engine is the emptier one
		other.load(c.Node(2))
		if one.node == other.node {
			t.Fatalf("both documents are on %s", one.node)
		}
		first := one.say(c.Node(1), `{"select": {"region": ["North"]}}`)
		if len(first.Selections["region"]) != 1 {
			t.Fatalf("the selection was not taken: %+v", first)
		}
		requests := map[*tab]int{}
		for i := range 6 {
			for j, b := range []*tab{one, other} {
				at := c.Node(1 + (i+j)%2)
				b.load(at)
				m := b.say(at, `{}`)
				if m.Requests <= requests[b] {
					t.Errorf("round %d: the engine of %s has forgotten the session: %d requests after %d", i, b.document, m.Requests, requests[b])
				}
				requests[b] = m.Requests
				if want := map[*tab]int{one: 1}[b]; len(m.Selections["region"]) != want {
					t.Errorf("round %d: %s has the selections %v", i, b.document, m.Selections)
				}
			}
		}
		for _, k := range jar.Cookies(oneName{}.site()) {
			if k.Name == "demo-session" {
				t.Error("an engine's session cookie reached the browser under its own name")
			}
			if name, _, _ := strings.Cut(k.Name, "~"); name != "demo-session" && !strings.HasPrefix(k.Name, "usher") {
				t.Errorf("an unexpected cookie %s", k.Name)
			}
		}
	})
}

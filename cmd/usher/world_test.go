package main

import (
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/peer"
)

const (
	id1 = peer.ID("aaaaaaaaaaaaaaaa")
	id2 = peer.ID("bbbbbbbbbbbbbbbb")
	id3 = peer.ID("cccccccccccccccc")

	sid1 = "e8de93a0c2168e61b0b1b2b3b4b5b6b7"
	sid2 = "e8de93a0ffffffff0000000000000001"
)

func ref(id peer.ID, name string) admin.Ref { return admin.Ref{ID: id, Name: name} }

func ago(d time.Duration) time.Time { return testNow().Add(-d) }

func node1() admin.Node {
	half := 500
	return admin.Node{
		ID: id1, Name: "bi-1", Class: peer.ClassServer, ClusterAddr: "10.0.0.1:14747", Door: "10.0.0.1:8080", Version: "v0.1.0",
		Boot: 3, Joined: ago(50 * time.Hour), State: peer.StateActive, Weight: 100, Tags: []string{"big", "reload"},
		Status: peer.StatusAlive, Since: ago(3 * time.Minute), Central: true, Voter: true, Self: true,
		Load: admin.NodeLoad{ReportAge: admin.Duration(time.Second), CPUPermille: 123, MemFreeBytes: 3 << 30, MemTotalBytes: 8 << 30, Sessions: 7},
		Engines: []admin.Engine{
			{ID: peer.MakeEngineID(id1, "shiny"), Name: "shiny", Health: peer.Healthy, Sessions: 7, InFlight: 1, LoadPermille: &half, Documents: []string{"sales", "people"}},
			{ID: peer.MakeEngineID(id1, "jupyter"), Name: "jupyter", Health: peer.Dead, Error: "connection refused"},
		},
	}
}

const drainedAt = 812

// drained is node1 after it was drained, with what it says itself.
func drained(own *admin.Count) admin.Node {
	n := node1()
	n.State, n.Modified, n.Count = peer.StateDraining, drainedAt, own
	return n
}

func nodes() admin.List[admin.Node] {
	return admin.List[admin.Node]{Items: []admin.Node{
		node1(),
		{ID: id2, Name: "bi-2", Class: peer.ClassServer, Status: peer.StatusFailed, State: peer.StateActive, Voter: true, Door: "10.0.0.2:8080", ClusterAddr: "10.0.0.2:14747"},
		// A name with an escape sequence must not reach the terminal.
		{ID: id3, Name: "bi-3\x1b[2J", Class: peer.ClassServer, Status: peer.StatusAlive, State: peer.StateDraining, Load: admin.NodeLoad{ReportAge: 1, CPUPermille: 5}},
	}}
}

func statusOK() admin.Status {
	return admin.Status{
		Cluster: admin.ClusterRef{ID: "7f3c", Name: "prod"}, Node: ref(id1, "bi-1"), Version: "v0.1.0", Started: ago(26 * time.Hour),
		Quorum: true, Central: &admin.Ref{ID: id1, Name: "bi-1"}, Index: 812, Servers: admin.Servers{Voters: 3, Reachable: 2},
		Counts: admin.Counts{Nodes: 3, NodesAlive: 2, Engines: 2, EnginesHealthy: 1, Sessions: 7, Tasks: 4, TasksPaused: 1, Running: 2},
		Door:   "10.0.0.1:8080", API: "127.0.0.1:14748", Warnings: []string{"clock of bi-2 is 3 s off"},
	}
}

func statusAlone() admin.Status {
	s := statusOK()
	s.Quorum, s.Central, s.Servers.Reachable = false, nil, 1
	return s
}

func sessions() admin.List[admin.Session] {
	return admin.List[admin.Session]{
		Items: []admin.Session{{
			ID: sid1, Engine: peer.MakeEngineID(id1, "shiny"), Node: ref(id1, "bi-1"), User: "ada", Client: "192.0.2.7", Documents: []string{"sales"},
			Created: ago(90 * time.Minute), LastSeen: ago(4 * time.Second), InFlight: 1, WebSockets: 2,
		}},
		Missing: []admin.Ref{ref(id2, "bi-2")},
	}
}

func settings() admin.List[admin.Setting] {
	return admin.List[admin.Setting]{Items: []admin.Setting{
		{Key: "door.show_node", Value: "true", Source: admin.SourceCluster, Default: "false", Type: "bool", Accepts: "true or false", Help: "name the node"},
		{Key: "door.trusted_networks", Value: "", Source: admin.SourceDefault, Type: "networks", Accepts: "CIDRs", Help: "whose headers are believed"},
	}}
}

func task1() admin.Task {
	return admin.Task{
		Name:     "nightly",
		TaskSpec: admin.TaskSpec{Document: "sales", Cron: "30 2 * * *", Zone: "Europe/Berlin", Attempts: 3, Timeout: admin.Duration(time.Hour), CatchUp: admin.Duration(time.Hour)},
		By:       "token:abc", Next: []time.Time{testNow().Add(5 * time.Hour)}, Last: occurrence("succeeded"),
	}
}

func occurrence(state string) *admin.Occurrence {
	o := admin.Occurrence{
		ID: "nightly@2030-01-02T02:30:00Z", Task: "nightly", Due: ago(34 * time.Minute), State: state, Attempt: 1, Fence: 9,
		Node: &admin.Ref{ID: id1, Name: "bi-1"}, Engine: "shiny",
	}
	switch state {
	case "succeeded":
		o.Ended, o.Rows, o.Took = ago(33*time.Minute), 20000, admin.Duration(1500*time.Millisecond)
	case "failed":
		o.Ended, o.Error = ago(33*time.Minute), "line 7: too many fields"
	}
	return &o
}

// fill gives the API an answer to everything that a healthy cluster is asked.
func (a *fakeAPI) fill() {
	a.on("GET /v1/status", statusOK())
	a.on("GET /v1/nodes", nodes())
	a.on("GET /v1/nodes/bi-1", node1())
	a.on("PATCH /v1/nodes/bi-1", node1())
	a.on("DELETE /v1/nodes/"+string(id1), struct{}{})
	for _, n := range []string{"bi-1", string(id1)} {
		a.on("POST /v1/nodes/"+n+"/drain", drained(nil))
		a.on("POST /v1/nodes/"+n+"/activate", node1())
		a.on("POST /v1/nodes/"+n+"/standby", node1())
	}
	a.on("GET /v1/nodes/"+string(id1), drained(&admin.Count{Revision: drainedAt - 1}), drained(&admin.Count{Sessions: 7, Revision: drainedAt}),
		drained(&admin.Count{Sessions: 1, Revision: 900}), drained(&admin.Count{Revision: 901}))
	a.on("GET /v1/central", admin.Central{Node: &admin.Ref{ID: id1, Name: "bi-1"}, Term: 5, Quorum: true})
	a.on("POST /v1/central/move", admin.Central{Node: &admin.Ref{ID: id3, Name: "bi-3"}, Term: 6, Quorum: true})
	a.on("POST /v1/cluster/rename", admin.Cluster{ID: "7f3c", Name: "new"})
	a.on("GET /v1/sessions", sessions())
	a.on("GET /v1/sessions/"+sid1, sessions().Items[0])
	a.on("DELETE /v1/sessions/"+sid1, struct{}{})
	a.on("GET /v1/engines", admin.List[admin.Engine]{Items: node1().Engines})
	a.on("GET /v1/documents", admin.List[admin.Document]{Items: []admin.Document{{Key: "sales", Engines: []peer.EngineID{peer.MakeEngineID(id1, "shiny")}, Tasks: []string{"nightly"}}}})
	a.on("GET /v1/documents/sales", admin.Document{Key: "sales", Engines: []peer.EngineID{peer.MakeEngineID(id1, "shiny")}, Tasks: []string{"nightly"}, Sessions: sessions().Items})
	a.fillSettings()
	a.fillTasks()
	a.fillTokens()
}

func (a *fakeAPI) fillSettings() {
	a.on("GET /v1/settings", settings())
	a.on("GET /v1/settings/door.show_node", settings().Items[0])
	a.on("PUT /v1/settings/door.show_node", settings().Items[0])
	a.on("DELETE /v1/settings/door.trusted_networks", settings().Items[1])
	a.on("GET /v1/settings/export", admin.Settings{Settings: map[string]string{"door.show_node": "true", "log.level": "debug"}})
	a.on("POST /v1/settings/import", admin.Settings{Settings: map[string]string{"log.level": "debug"}})
	audit := admin.List[admin.Audit]{Items: []admin.Audit{
		{Revision: 9, At: ago(time.Hour), Actor: "token:abc", Via: ref(id1, "bi-1"), Action: "setting.set", Target: "log.level", Detail: "debug"},
		{Revision: 8, At: ago(2 * time.Hour), Actor: "local:root", Via: ref(id3, ""), Action: "setting.set", Target: "log.level", Detail: "loud", Code: "invalid"},
	}}
	a.on("GET /v1/settings-history", audit)
	a.on("GET /v1/settings/log.level/history", audit)
}

func (a *fakeAPI) fillTasks() {
	paused := task1()
	paused.Paused, paused.Reason, paused.Next = true, "month end", nil
	a.on("GET /v1/tasks", admin.List[admin.Task]{Items: []admin.Task{task1(), {Name: "quick", TaskSpec: admin.TaskSpec{Document: "people", Every: admin.Duration(30 * time.Second)}}}})
	a.on("GET /v1/tasks/nightly", task1())
	a.on("PUT /v1/tasks/nightly", task1())
	a.on("DELETE /v1/tasks/nightly", struct{}{})
	a.on("POST /v1/tasks/nightly/run", *occurrence("pending"))
	a.on("POST /v1/tasks/nightly/pause", paused)
	a.on("POST /v1/tasks/nightly/resume", task1())
	a.on("GET /v1/occurrences/nightly@2030-01-02T02:30:00Z", *occurrence("started"), *occurrence("started"), *occurrence("succeeded"))
	a.on("GET /v1/tasks/nightly/occurrences", admin.List[admin.Occurrence]{Items: []admin.Occurrence{*occurrence("started"), *occurrence("failed"), *occurrence("succeeded")}})
}

func (a *fakeAPI) fillTokens() {
	join := admin.JoinToken{ID: "jjjjjjjj", State: admin.TokenUsedUp, Uses: 2, Used: 2, Expires: testNow().Add(time.Hour), By: "init", Born: ago(time.Hour)}
	a.on("GET /v1/join-tokens", admin.List[admin.JoinToken]{Items: []admin.JoinToken{join}})
	a.on("POST /v1/join-tokens", admin.NewJoinToken{JoinToken: join, Token: "ushj_secret", Contacts: []string{"10.0.0.1:14747", "10.0.0.2:14747"}})
	a.on("DELETE /v1/join-tokens/jjjjjjjj", join)
	token := admin.Token{ID: "tttttttt", Name: "ci", Role: "operator", State: admin.TokenValid, By: "local:root", Born: ago(time.Hour)}
	a.on("GET /v1/tokens", admin.List[admin.Token]{Items: []admin.Token{token}})
	a.on("POST /v1/tokens", admin.NewToken{Token: token, Secret: "usht_secret"})
	a.on("DELETE /v1/tokens/tttttttt", token)
}

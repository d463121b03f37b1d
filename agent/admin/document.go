package admin

import (
	"maps"
	"slices"

	"github.com/ushercluster/usher/agent/peer"
)

func listDocuments(c *call) (List[Document], error) {
	w, err := c.window()
	if err != nil {
		return List[Document]{}, err
	}
	v, err := c.read()
	if err != nil {
		return List[Document]{}, err
	}
	all := documentsOf(c.snapshot(v))
	keys := slices.Sorted(maps.Keys(all))
	return listOf(w, keys, func(k string) string { return k }, func(k string) Document { return *all[k] }), nil
}

func showDocument(c *call) (Document, error) {
	v, err := c.read()
	if err != nil {
		return Document{}, err
	}
	key := c.r.PathValue("key")
	out := Document{Key: key, Engines: []peer.EngineID{}, Tasks: []string{}}
	if d := documentsOf(c.snapshot(v))[key]; d != nil {
		out = *d
	}
	sessions := c.gather(v, c.sessionNodes(v), sessionQuery{LocalFilter{Document: key}, window{limit: maxLimit}})
	out.Sessions, out.Missing = sessions.Items, sessions.Missing
	if len(out.Engines)+len(out.Tasks)+len(out.Sessions) == 0 {
		p := notFound("no engine holds a document %q, no session is on it, and no task reloads it", clip(key, 64))
		p.Next = "engines name documents that they have in memory; open it once"
		return Document{}, p
	}
	return out, nil
}

// documentsOf is what engines hold and tasks reload, by key.
func documentsOf(s snapshot) map[string]*Document {
	out := map[string]*Document{}
	get := func(key string) *Document {
		if out[key] == nil {
			out[key] = &Document{Key: key, Engines: []peer.EngineID{}, Tasks: []string{}}
		}
		return out[key]
	}
	for _, n := range nodesOf(s) {
		if n.Status == peer.StatusFailed || n.Status == peer.StatusLeft {
			continue
		}
		for _, e := range n.Engines {
			for _, d := range e.Documents {
				doc := get(d)
				doc.Engines = append(doc.Engines, e.ID)
			}
		}
	}
	for _, t := range s.view.Tasks() {
		doc := get(t.Document)
		doc.Tasks = append(doc.Tasks, t.Name)
	}
	return out
}

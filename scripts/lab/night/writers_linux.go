package night

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/scripts/bench"
	"github.com/ushercluster/usher/scripts/lab/world"
)

const (
	writePace    = 60 * time.Millisecond
	writePatient = 2 * time.Second
	byHand       = "by-hand" // the task that is asked to run
	firstKey     = 3         // of the ledger's settings; the load has those before
)

// writers fill the ledger: each writes what nobody else does, one after the other, at one node
// until that fails.
type writers struct {
	nodes  []*world.Node
	tokens bool // nothing but API tokens from now on
	quit   chan struct{}
	once   sync.Once
	wg     sync.WaitGroup

	mu    sync.Mutex
	tries []try
}

func openWriters(ctx context.Context, nodes []*world.Node) (*writers, error) {
	w := &writers{nodes: nodes, quit: make(chan struct{})}
	if _, err := nodes[0].Client.PutTask(ctx, byHand, specOf(0)); err != nil {
		return nil, fmt.Errorf("make task %s: %w", byHand, err)
	}
	for i := range min(len(nodes), bench.Keys-firstKey) {
		w.wg.Go(func() { w.write(i) })
	}
	return w, nil
}

// specOf is a definition that no other number has, and that is not due in this night.
func specOf(n int) admin.TaskSpec {
	return admin.TaskSpec{Document: world.Document, Every: admin.Duration(time.Duration(24+n) * time.Hour), Start: time.Now().AddDate(1, 0, 0).Truncate(time.Hour)}
}

func (w *writers) stop() {
	w.once.Do(func() { close(w.quit) })
	w.wg.Wait()
}

// onlyTokens leaves settings and tasks alone from now on. It returns when no other write is
// under way.
func (w *writers) onlyTokens() {
	w.mu.Lock()
	w.tokens = true
	w.mu.Unlock()
	time.Sleep(writePatient + writePace)
}

func (w *writers) all() []try {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]try(nil), w.tries...)
}

func (w *writers) write(id int) {
	at := id
	for n := 1; ; n++ {
		select {
		case <-w.quit:
			return
		case <-time.After(writePace):
		}
		t := w.tryOnce(w.nodes[at%len(w.nodes)], id, n)
		if !t.OK {
			at++
		}
		w.add(t)
	}
}

// add notes a write.
func (w *writers) add(t try) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tries = append(w.tries, t)
}

// tryOnce makes one write.
func (w *writers) tryOnce(node *world.Node, id, n int) try {
	ctx, cancel := context.WithTimeout(context.Background(), writePatient)
	defer cancel()
	w.mu.Lock()
	kinds := []kind{aSetting, aTask, aToken, aRun}
	if w.tokens {
		kinds = []kind{aToken}
	}
	w.mu.Unlock()
	t := try{Kind: kinds[n%len(kinds)], Name: fmt.Sprintf("w%d-%d", id, n), Begin: time.Now()}
	var err error
	switch t.Kind {
	case aSetting:
		k := firstKey + id
		t.Name, t.Value = bench.Setting(k), bench.Value(k, int64(n))
		var s admin.Setting
		s, err = node.Client.SetSetting(ctx, t.Name, t.Value)
		t.Revision = s.Modified
	case aTask:
		spec := specOf(id*10_000 + n)
		t.Value = spec.Every.String()
		var row admin.Task
		row, err = node.Client.PutTask(ctx, t.Name, spec, admin.IfAbsent())
		t.Revision = row.Modified
	case aToken:
		t.Value = "viewer"
		var row admin.NewToken
		row, err = node.Client.CreateToken(ctx, admin.TokenSpec{Name: t.Name, Role: t.Value})
		t.Revision, t.Secret = row.Created, row.Secret
	case aRun:
		t.Value = "manual"
		var row admin.Occurrence
		row, err = node.Client.RunTask(ctx, byHand)
		t.Name, t.Revision = row.ID, row.Created
	}
	t.End, t.OK = time.Now(), err == nil
	return t
}

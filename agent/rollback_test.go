package agent

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

const (
	selfID  = peer.ID("ssssssssssssssss")
	otherID = peer.ID("oooooooooooooooo")
)

// remembering is an agent before Raft is opened: it knows of its own start and of
// other nodes from state.cache, and reaches none of them.
func remembering(t *testing.T, known uint64, others ...peer.ID) *Agent {
	t.Helper()
	f := fsm.New(fsm.Options{})
	row := func(id peer.ID) fsm.Node {
		return fsm.Node{ID: id, Name: string(id[:2]), Class: peer.ClassServer, Weight: 100, KeyHash: []byte(id)}
	}
	commands := []fsm.Command{
		&fsm.InitCluster{UUID: "u", Name: "c", Node: row(selfID), JoinToken: fsm.JoinToken{ID: "jjjj", Uses: 9, Expires: 100},
			Token: fsm.Token{ID: "tttt"}, DataKey: fsm.DataKey{ID: 1}},
		&fsm.ReportNode{ID: selfID, Boot: known, Nonce: []byte("nonce")},
	}
	for _, id := range others {
		commands = append(commands, &fsm.AdmitNode{TokenID: "jjjj", Node: row(id), Wraps: []fsm.KeyWrap{{KeyID: 1, Wrap: fsm.Wrap{Node: id}}}})
	}
	for i, c := range commands {
		b, err := fsm.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		entry, err := fsm.EncodeEntry(fsm.Entry{Now: 1, Items: []fsm.Item{{ID: fsm.CommandID{byte(i + 1)}, Command: b}}})
		if err != nil {
			t.Fatal(err)
		}
		if res, err := f.Apply(entry); err != nil || res[0].Err() != nil {
			t.Fatal(err, res)
		}
	}
	a := &Agent{self: selfID, cfg: config.Config{DataDir: t.TempDir()}, log: zerolog.Nop(), cached: f.View()}
	a.forward = admin.NewForwarder(func(context.Context, peer.ID) (net.Conn, error) { return nil, errors.New("unreachable") }, nil)
	t.Cleanup(a.forward.Close)
	return a
}

func TestOwnCacheShowsARollback(t *testing.T) {
	for _, c := range []struct {
		name      string
		boot      consensus.Boot
		others    []peer.ID
		want      error
		permanent bool
	}{
		{"as it was", consensus.Boot{Number: 5, Nonce: []byte("nonce")}, nil, nil, false},
		{"killed before it could report", consensus.Boot{Number: 6, Nonce: []byte("later")}, nil, nil, false},
		{"an older one, alone", consensus.Boot{Number: 4}, nil, ErrDamaged, true},
		{"gone, alone", consensus.Boot{}, nil, ErrDamaged, true},
		{"gone, and nobody answers", consensus.Boot{}, []peer.ID{otherID}, ErrRolledBack, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := remembering(t, 5, c.others...)
			a.boot = c.boot
			err := a.guardRollback(t.Context())
			if !errors.Is(err, c.want) || errors.Is(err, ErrPermanent) != c.permanent {
				t.Fatalf("%v; want %v, permanent %v", err, c.want, c.permanent)
			}
		})
	}
}

func TestDamagedStoresArePermanent(t *testing.T) {
	dir := t.TempDir()
	stores, err := openStores(dir, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stores.SetBoot(consensus.Boot{Number: 1, Nonce: []byte("n")}), stores.Close()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, raftDirName, "stable.db")
	if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = openStores(dir, zerolog.Nop())
	if !errors.Is(err, ErrDamaged) || !errors.Is(err, ErrPermanent) || !strings.Contains(err.Error(), path) {
		t.Fatalf("%v; want a permanent error that names %s", err, path)
	}
	if stores, err = openStores(t.TempDir(), zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	if err := stores.Close(); err != nil {
		t.Fatal(err)
	}
}

package agent

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/doctor/probe"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/scrub"
)

// debug is what the agent shows of itself to whoever looks into it.
func (a *Agent) debug() admin.Debug {
	out := admin.Debug{
		Diagnose: newPhysician(a).diagnose,
		Reach:    func(ctx context.Context, id peer.ID) error { _, err := a.fresh(ctx, id); return err },
		Config:   func(w io.Writer) error { return a.cfg.Print(w, nil) },
		Machine:  func(ctx context.Context) ([]byte, error) { return probe.Describe(ctx, a.cfg.DataDir) },
		Scrub:    func(text []byte) []byte { return a.scrubber().Bytes(text) },
	}
	if a.opts.Ring != nil {
		out.Logs = a.opts.Ring.Lines
	}
	return out
}

// scrubber knows this node's secrets as they are now.
func (a *Agent) scrubber() *scrub.Scrubber {
	literals := SecretsOf(a.cfg)
	v := a.view()
	for _, row := range v.Secrets("") {
		literals = append(literals, row.Sealed)
	}
	for _, t := range v.Tokens() {
		literals = append(literals, t.Hash)
	}
	for _, t := range v.JoinTokens() {
		literals = append(literals, t.Hash)
	}
	return scrub.New(literals...)
}

// maxSecret bounds what is read of a secret file.
const maxSecret = 64 << 10

// SecretsOf are the contents of the files that hold a node's secrets, as far as they are
// there and this user may read them: for a scrub.Scrubber, and for nothing else.
func SecretsOf(cfg config.Config) [][]byte {
	paths := []string{cfg.Engine.SecretFile, cfg.API.TLSKey, cfg.Cluster.JoinTokenFile}
	for _, name := range []string{"node.key", "seal.key", "join.pending", "admin.token"} {
		paths = append(paths, filepath.Join(cfg.DataDir, name))
	}
	var out [][]byte
	for _, path := range paths {
		if b, err := readSome(path); err == nil {
			out = append(out, b)
		}
	}
	return out
}

func readSome(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() { // "" and "-" are none, a pipe would wait
		return nil, os.ErrNotExist
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSecret))
}

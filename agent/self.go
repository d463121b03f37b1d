package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
	"github.com/ushercluster/usher/transport"
)

// remoteID says who is at the other end of a connection of the cluster port.
func remoteID(c net.Conn) (peer.ID, bool) {
	id, ok := transport.PeerOf(c)
	return id.ID, ok
}

func (a *Agent) dialRaft(ctx context.Context, to peer.ID) (net.Conn, error) {
	return a.dialNode(ctx, to, transport.ProtoRaft)
}

func (a *Agent) dialPulse(ctx context.Context, to peer.ID) (net.Conn, error) {
	return a.dialNode(ctx, to, transport.ProtoPulse)
}

func (a *Agent) dialSession(ctx context.Context, to peer.ID) (net.Conn, error) {
	return a.dialNode(ctx, to, transport.ProtoSession)
}

func (a *Agent) dialAPI(ctx context.Context, to peer.ID) (net.Conn, error) {
	return a.dialNode(ctx, to, transport.ProtoAPI)
}

const selfRetry = time.Second

// reportSelf tells the cluster of this start: address, version, engines. Until that
// was acknowledged it is tried again, for a node that comes back alone has nobody
// to tell. Then the agent is ready.
func (a *Agent) reportSelf(ctx context.Context) error {
	for {
		err := a.reportOnce(ctx)
		switch {
		case err == nil:
			a.isReady.Do(func() { close(a.ready) })
			<-ctx.Done()
			return nil
		case fsm.IsCode(err, fsm.CodeRemoved):
			return ErrRemoved
		case fsm.IsCode(err, fsm.CodeConflict):
			return fmt.Errorf("%w: %w", ErrRolledBack, err)
		case ctx.Err() != nil:
			return nil
		}
		a.log.Debug().Err(err).Msg("cannot report this start yet")
		select {
		case <-time.After(selfRetry):
		case <-ctx.Done():
			return nil
		}
	}
}

func (a *Agent) reportOnce(ctx context.Context) error {
	names := make([]string, len(a.engines))
	for i, e := range a.engines {
		names[i] = e.Name()
	}
	slices.Sort(names)
	res, err := a.store.Apply(ctx, a.own(&fsm.ReportNode{
		ID: a.self, Addr: a.advertise, Door: doorAddr(a.advertise, a.users.Addr().String()), Version: a.opts.Version,
		FeatureLevel: fsm.FeatureLevel, Boot: a.boot.Number, Nonce: a.boot.Nonce, Engines: names,
		PublicName: a.cfg.Door.PublicName,
	}))
	if err != nil {
		return err
	}
	_, err = a.store.Reached(ctx, res.Revision)
	return err
}

func (a *Agent) keepEvicted(rows []fsm.Evicted) { a.archive.add(rows) }

const (
	socketDirMode = 0o750
	socketMode    = 0o660 // who may connect is checked again by the peer's user
)

// openSocket opens the operators' socket. What an agent that was killed left
// behind is removed; a socket that somebody answers on is another agent's.
func (a *Agent) openSocket(ctx context.Context, listen listenFunc) error {
	path := a.cfg.API.Socket
	if path == "" {
		return nil
	}
	if c, err := a.nw.DialContext(ctx, "unix", path); err == nil {
		c.Close()
		return permanent(busyPort("admin socket", path, "--socket", syscall.EADDRINUSE))
	}
	if err := os.MkdirAll(filepath.Dir(path), socketDirMode); err != nil {
		return permanent(fmt.Errorf("open admin socket: %w", err))
	}
	if st, err := os.Lstat(path); err == nil {
		if st.Mode()&fs.ModeSocket == 0 {
			return permanent(fmt.Errorf("open admin socket: %s is a file, not a socket: choose another path with --socket", path))
		}
		if err := os.Remove(path); err != nil {
			return permanent(fmt.Errorf("open admin socket: remove the one left behind: %w", err))
		}
	}
	if err := listen("admin socket", "unix", path, "--socket", &a.socket); err != nil {
		return err
	}
	if err := os.Chmod(path, socketMode); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open admin socket: %w", err)
	}
	return nil
}

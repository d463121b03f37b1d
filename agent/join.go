package agent

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
	"github.com/ushercluster/usher/transport"
)

// JoinOptions is what joining needs beside the configuration. Token is the join
// token's text; the rest may be left out.
type JoinOptions struct {
	Token    string
	Network  transport.Network // nil: the system's
	Now      func() time.Time
	Version  string
	Log      zerolog.Logger
	Progress func(line string)
}

// HasIdentity reports whether the data directory belongs to a node already.
func HasIdentity(dataDir string) (bool, error) {
	dir, err := identity.OpenDir(dataDir)
	if err != nil {
		return false, permanent(err)
	}
	switch _, err := dir.Load(); {
	case err == nil:
		return true, nil
	case errors.Is(err, identity.ErrNoIdentity):
		return false, nil
	default:
		return false, permanent(err)
	}
}

// Join makes this machine a node of the cluster that the token names. It tries the
// addresses of the configuration until one lets it in, and writes the identity at
// the very end; a try that was cut short repeats the same request.
func Join(ctx context.Context, cfg config.Config, o JoinOptions) (identity.JoinAnswer, error) {
	o = o.withDefaults()
	token, err := identity.ParseJoinToken(o.Token)
	if err != nil {
		return identity.JoinAnswer{}, permanent(fmt.Errorf("join: %w", err))
	}
	dir, err := identity.OpenDir(cfg.DataDir)
	if err != nil {
		return identity.JoinAnswer{}, permanent(err)
	}
	lock, err := dir.Lock()
	if err != nil {
		return identity.JoinAnswer{}, err
	}
	defer lock.Close()
	pending, err := dir.Prepare(token.ID(), o.Now())
	if err != nil {
		return identity.JoinAnswer{}, permanent(fmt.Errorf("join: %w", err))
	}
	answering, err := answerDialBack(ctx, o.Network, cfg.Cluster.Bind)
	if err != nil {
		return identity.JoinAnswer{}, permanent(err)
	}
	defer answering.Close()
	advertise, err := advertiseOf(cfg, answering.addr())
	if err != nil {
		return identity.JoinAnswer{}, permanent(err)
	}
	node, answer, err := identity.Join(ctx, identity.JoinConfig{
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return o.Network.DialContext(ctx, "tcp", addr)
		},
		Lookup: o.Network.LookupHost, Addrs: cfg.Cluster.Join, Token: token, Pending: pending,
		Request: identity.JoinRequest{
			Name: cfg.Node.Name, Class: peer.ClassServer, Advertise: advertise, Door: doorAddr(advertise, cfg.Door.Listen),
			Nonce: answering.nonce, FeatureLevel: fsm.FeatureLevel, UsherVersion: o.Version,
		},
		Now: o.Now, Log: o.Log, Progress: o.Progress,
	})
	if err != nil {
		var refused *identity.JoinError
		if errors.As(err, &refused) || errors.Is(err, identity.ErrOtherCluster) {
			err = permanent(err)
		}
		return identity.JoinAnswer{}, err
	}
	return answer, dir.Save(node)
}

func (o JoinOptions) withDefaults() JoinOptions {
	if o.Network == nil {
		o.Network = transport.System{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o
}

// doorAddr is where this node's door is reached by machines on the same network.
func doorAddr(advertise, listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host, _, _ = net.SplitHostPort(advertise)
	}
	return net.JoinHostPort(host, port)
}

func advertiseOf(cfg config.Config, bound string) (string, error) {
	ifaces, err := config.Interfaces()
	if err != nil {
		return "", err
	}
	return config.AdvertiseAddr(cfg.Cluster.Advertise, bound, ifaces)
}

// dialBack answers on the cluster port while this machine asks to join. The member
// that lets it in dials the advertised address and compares the answer, so that an
// address which leads to another machine, or nowhere, is noticed at once.
type dialBack struct {
	ln    net.Listener
	nonce []byte
	wg    sync.WaitGroup
}

const dialBackTimeout = 2 * time.Second

func answerDialBack(ctx context.Context, nw transport.Network, bind string) (*dialBack, error) {
	d := &dialBack{nonce: make([]byte, 16)}
	if _, err := rand.Read(d.nonce); err != nil {
		return nil, err
	}
	var err error
	if d.ln, err = nw.Listen(ctx, "tcp", bind); err != nil {
		return nil, busyPort("cluster port", bind, "--bind", err)
	}
	d.wg.Go(func() {
		for {
			c, err := d.ln.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(dialBackTimeout))
			_, _ = io.WriteString(c, dialBackProof(d.nonce)) // whoever dialled sees it or does not
			c.Close()
		}
	})
	return d, nil
}

func (d *dialBack) addr() string { return d.ln.Addr().String() }

// Close gives the port back, for the agent to bind.
func (d *dialBack) Close() error {
	err := d.ln.Close()
	d.wg.Wait()
	return err
}

func dialBackProof(nonce []byte) string {
	sum := sha256.Sum256(append([]byte("usher dial-back\n"), nonce...))
	return hex.EncodeToString(sum[:]) + "\n"
}

// checkDialBack dials an address that a joining machine advertises.
func checkDialBack(ctx context.Context, nw transport.Network, addr string, nonce []byte) error {
	ctx, cancel := context.WithTimeout(ctx, dialBackTimeout)
	defer cancel()
	c, err := nw.DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("dialling back %s failed: %w", addr, err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(dialBackTimeout))
	want := dialBackProof(nonce)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		return fmt.Errorf("dialling back %s reached another machine or service", addr)
	}
	return nil
}

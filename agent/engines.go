package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/engine"
	"github.com/ushercluster/usher/agent/engine/builtin"
	"github.com/ushercluster/usher/agent/logs"
)

// fronted is what this node has beside it: engines to talk to, and the built-in one
// if it runs that itself.
type fronted struct {
	engines []*engine.Engine
	serve   []*builtinServer
}

type builtinServer struct {
	ln     net.Listener
	engine *builtin.Server
	http   *http.Server
}

// openEngines makes the engines of the configuration. Nothing is probed yet.
func (a *Agent) openEngines(ctx context.Context) (*fronted, error) {
	f := &fronted{}
	if !a.cfg.HasEngines() {
		return f, nil
	}
	roots, err := engineRoots(a.cfg.Engine.CA)
	if err != nil {
		return nil, permanent(err)
	}
	for _, text := range a.cfg.Engines {
		ec, err := engine.ParseFlag(text)
		if err != nil {
			return nil, errors.Join(permanent(err), f.Close())
		}
		if ec.Builtin {
			s, err := a.openBuiltin(ctx, ec.Name)
			if err != nil {
				return nil, errors.Join(err, f.Close())
			}
			f.serve = append(f.serve, s)
			ec.URL = &url.URL{Scheme: "http", Host: s.ln.Addr().String()}
			ec.Health = engine.Probe{Kind: engine.ProbeHTTP, Path: "/healthz"}
		} else if ec.Health, err = probeOf(a.cfg.Engine); err != nil {
			return nil, errors.Join(permanent(err), f.Close())
		}
		ec.API.SecretFile = a.cfg.Engine.SecretFile
		e, err := engine.New(ec, engine.Options{
			Dial: a.nw.DialContext, Roots: roots, Now: a.now, Log: logs.For(a.log, "engine"), Registerer: a.registry,
		})
		if err != nil {
			return nil, errors.Join(permanent(err), f.Close())
		}
		f.engines = append(f.engines, e)
	}
	return f, nil
}

// maxCAFile bounds what is read of --engine-ca.
const maxCAFile = 4 << 20

// engineRoots are the authorities that may have signed an engine's certificate: those of the
// machine and of a file; nil is the machine's.
func engineRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // see above
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("authorities of the engines (--engine-ca): %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCAFile))
	if err != nil {
		return nil, fmt.Errorf("authorities of the engines (--engine-ca): %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil { // a machine without any
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("authorities of the engines (--engine-ca): %s holds no certificate in PEM form", file)
	}
	return pool, nil
}

func probeOf(c config.Engine) (engine.Probe, error) {
	switch {
	case c.Health == "tcp":
		return engine.Probe{Kind: engine.ProbeTCP}, nil
	case c.Health == "":
		return engine.Probe{}, nil
	case c.Health[0] == '/':
		return engine.Probe{Kind: engine.ProbeHTTP, Path: c.Health}, nil
	}
	return engine.Probe{}, fmt.Errorf("engine health %q: use a path that begins with / or tcp", c.Health)
}

func (a *Agent) openBuiltin(ctx context.Context, name string) (*builtinServer, error) {
	s, err := builtin.New(builtin.Options{
		Dir: a.cfg.Engine.Documents, Name: name, Node: a.nodeName, SecretFile: a.cfg.Engine.SecretFile,
		ReloadDelay: a.opts.ReloadDelay, Now: a.now, Log: logs.For(a.log, "builtin"), Registerer: a.registry,
	})
	if err != nil {
		return nil, permanent(err)
	}
	ln, err := a.nw.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open built-in engine: %w", err), s.Close())
	}
	return &builtinServer{ln: ln, engine: s, http: &http.Server{
		Handler: s, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: logs.Std(a.log, debugLevel),
	}}, nil
}

// Run probes the engines and serves the built-in one until ctx ends.
func (f *fronted) run(g *group) {
	for _, s := range f.serve {
		g.Go("built-in engine", func(ctx context.Context) error {
			defer context.AfterFunc(ctx, func() { _ = s.close() })() // Close says it again
			if err := s.http.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	for _, e := range f.engines {
		g.Go("engine "+e.Name(), e.Run)
	}
}

// Close ends the built-in engine; requests in it are cut.
func (f *fronted) Close() error {
	var errs []error
	for _, s := range f.serve {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

func (s *builtinServer) close() error {
	err := errors.Join(s.engine.Close(), s.http.Close())
	if e := s.ln.Close(); !errors.Is(e, net.ErrClosed) {
		err = errors.Join(err, e)
	}
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/engine/builtin"
	"github.com/ushercluster/usher/agent/logs"
)

func (p *program) engineCommand() *cli.Command {
	return &cli.Command{
		Name: "engine", Usage: "run the built-in engine alone",
		Description: "A small session server over CSV files, to try usher against something that is not the agent:\n  usher engine --documents ./docs &\n  usher agent --engine http://127.0.0.1:8787",
		Flags: []cli.Flag{
			text("documents", "DIR", "directory of CSV files"),
			withDefault(text("listen", "HOST:PORT", "where it listens"), "127.0.0.1:8787"),
			withDefault(text("name", "NAME", "what its pages call it"), "builtin"),
			text("secret-file", "FILE", "file that holds the secret for load and reload calls"),
		},
		Action: p.engineRun,
	}
}

func (p *program) engineRun(c *cli.Context) error {
	if err := exactly(0).check(c); err != nil {
		return err
	}
	if c.String("documents") == "" {
		return usage("give --documents DIR", "the engine needs a directory of CSV files")
	}
	log, _, err := p.logger(config.Config{Log: config.Log{Level: "info", Format: p.logFormat()}})
	if err != nil {
		return err
	}
	s, err := builtin.New(builtin.Options{
		Dir: c.String("documents"), Name: c.String("name"), SecretFile: c.String("secret-file"), Now: p.now, Log: logs.For(log, "builtin"),
	})
	if err != nil {
		return permanent("name a directory that can be read with --documents", "%w", err)
	}
	ctx, cancel := p.untilSignal(c.Context)
	defer cancel()
	return errors.Join(serveEngine(ctx, s, c.String("listen"), log), s.Close())
}

func (p *program) logFormat() string {
	if p.terminal.err {
		return string(logs.Console)
	}
	return string(logs.JSON)
}

const engineStop = 5 * time.Second

// serveEngine serves until ctx ends. There is no write timeout: reloads and
// WebSockets last, and have limits of their own.
func serveEngine(ctx context.Context, h http.Handler, addr string, log zerolog.Logger) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if portBusy(err) {
		return failed("stop the program that has it, or choose another address with --listen", "open engine: %w", err)
	}
	if err != nil {
		return permanent("choose another address with --listen", "open engine: %w", err)
	}
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: logs.Std(log, zerolog.DebugLevel),
	}
	log.Info().Str(logs.Addr, ln.Addr().String()).Msg("engine listens")
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	select {
	case err = <-ended:
		return fmt.Errorf("serve engine: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), engineStop)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		_ = srv.Close() // what is left after the grace is cut
	}
	<-ended //nolint:errcheck // judged above
	return nil
}

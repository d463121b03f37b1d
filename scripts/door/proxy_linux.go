package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"debug/buildinfo"
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

//go:embed peers
var configurations embed.FS

// target is a proxy that serves.
type target struct {
	address string
	pids    []int
	words   func() string
	close   func() error
}

// findPeers asks those that are there for their versions, and leaves out the others.
func (d *driver) findPeers(ctx context.Context) error {
	d.versions = []string{"usher " + d.tree}
	asked := map[string]bool{usherName: true}
	d.peers = slices.DeleteFunc(d.peers, func(p peer) bool {
		if p.program != usherName && d.programs[p.program] == "" {
			d.skip("%s is not here to compare with", p.name)
			return true
		}
		return false
	})
	for _, p := range d.peers {
		if asked[p.program] {
			continue
		}
		asked[p.program] = true
		version, err := d.version(ctx, p.program)
		if err != nil {
			return fmt.Errorf("ask %s for its version: %w", p.program, err)
		}
		d.versions = append(d.versions, version)
	}
	return nil
}

func (d *driver) version(ctx context.Context, program string) (string, error) {
	if program == caddyName { // it does not know by itself
		info, err := buildinfo.ReadFile(d.programs[program])
		if err != nil {
			return "", err
		}
		return "Caddy " + strings.TrimPrefix(info.Main.Version, "v"), nil
	}
	cmd := exec.CommandContext(ctx, d.programs[program], "-v")
	cmd.Env = append(os.Environ(), d.libraryPath()...)
	out, err := cmd.CombinedOutput() // nginx says it on standard error
	if err != nil {
		return "", fmt.Errorf("%w: %.300s", err, out)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	line, _, _ = strings.Cut(strings.TrimPrefix(line, "nginx version: "), " - ") // HAProxy's home page
	return line, nil
}

func (d *driver) libraryPath() []string {
	if d.libraries == "" {
		return nil
	}
	return []string{"LD_LIBRARY_PATH=" + d.libraries}
}

// open starts a proxy on its core and returns when it serves.
func (d *driver) open(ctx context.Context, p peer, s stage, dir string) (t target, err error) {
	err = pinned(proxyCore, func() error {
		if p.program == usherName {
			t, err = d.openUsher(ctx, s, dir)
		} else {
			t, err = d.openPeer(ctx, p, s, dir)
		}
		return err
	})
	if err != nil {
		return t, err
	}
	url, roots := "http://"+t.address+"/", (*x509.CertPool)(nil)
	if s.TLS {
		url, roots = "https://"+t.address+"/", d.identity.roots
	}
	if err := answers(ctx, url, roots); err != nil {
		return t, errors.Join(fmt.Errorf("%w; its last words:\n%s", err, t.words()), t.close())
	}
	return t, nil
}

// openPeer starts one of the others.
func (d *driver) openPeer(ctx context.Context, p peer, s stage, dir string) (t target, err error) {
	ports, err := bench.FreePorts(ctx, 1)
	if err != nil {
		return t, err
	}
	_, port, err := net.SplitHostPort(ports[0])
	if err != nil {
		return t, fmt.Errorf("read an address: %w", err)
	}
	text, err := template.ParseFS(configurations, "peers/"+p.file)
	if err != nil {
		return t, fmt.Errorf("read the template of %s: %w", p.file, err)
	}
	var out bytes.Buffer
	if err := text.Execute(&out, map[string]any{
		"Tuned": p.tuned, "TLS": s.TLS, "Listen": ports[0], "Port": port, "Engine": d.engine, "Dir": dir,
		"Cert": d.identity.cert, "Key": d.identity.key, "Both": d.identity.both,
		"Users": d.users(), "Descriptors": d.descriptors, "Root": os.Getuid() == 0,
	}); err != nil {
		return t, fmt.Errorf("fill in %s: %w", p.file, err)
	}
	file := filepath.Join(dir, p.file)
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		return t, fmt.Errorf("write %s: %w", p.file, err)
	}
	args := map[string][]string{
		haproxyName: {"-db", "-f", file},
		nginxName:   {"-e", filepath.Join(dir, "error.log"), "-p", dir, "-c", file},
		caddyName:   {"run", "--config", file, "--adapter", "caddyfile"},
	}[p.program]
	env := append(d.libraryPath(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	if p.tuned {
		env = append(env, "GOMAXPROCS=1") // of Caddy
	}
	one := bench.NewProcess(p.name, append([]string{d.programs[p.program]}, args...), env, filepath.Join(dir, "log"))
	if err := one.Start(); err != nil {
		return t, err
	}
	return target{address: ports[0], pids: []int{one.PID()}, words: one.Words, close: one.Stop}, nil
}

// answers waits until a URL is answered 200.
func answers(ctx context.Context, url string, roots *x509.CertPool) error {
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: serverName}}
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	last := errors.New("nobody was asked")
	err := bench.Until(ctx, 30*time.Second, url+" is answered", func(ctx context.Context) bool {
		last = fetch(ctx, client, url)
		return last == nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return nil
}

func fetch(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("make a request: %w", err)
	}
	req.Host = serverName
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s: %.200s", resp.Status, body)
	}
	return nil
}

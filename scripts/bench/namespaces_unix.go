//go:build unix

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// ErrNoNamespaces means that this machine, or our rights, allow no network
// namespaces.
var ErrNoNamespaces = errors.New("network namespaces are not to be had")

// Namespaces are networks for agents, joined by a bridge that has a namespace of its
// own, so that this machine's network is not touched. A port that is taken out of the
// bridge is a black hole: no carrier is lost, nothing is refused, packets vanish in
// both directions.
type Namespaces struct {
	tag   string
	names []string
}

// network only exists inside the namespaces.
const network = "10.47.48"

// OpenNamespaces makes n of them. The error is ErrNoNamespaces, wrapped with the
// reason, when they cannot be had here.
func OpenNamespaces(ctx context.Context, n int) (*Namespaces, error) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: that needs Linux and root", ErrNoNamespaces)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, fmt.Errorf("%w: iproute2 is not installed", ErrNoNamespaces)
	}
	w := &Namespaces{tag: fmt.Sprintf("usher-bench-%d", os.Getpid())}
	if err := w.open(ctx, n); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrNoNamespaces, err), w.Close())
	}
	return w, nil
}

func (w *Namespaces) open(ctx context.Context, n int) error {
	bridge := w.tag + "-switch"
	if err := w.add(ctx, bridge); err != nil {
		return err
	}
	steps := [][]string{
		{"-n", bridge, "link", "add", "bridge", "type", "bridge"},
		{"-n", bridge, "link", "set", "bridge", "up"},
	}
	for i := range n {
		name, port := w.name(i), fmt.Sprintf("port%d", i+1)
		if err := w.add(ctx, name); err != nil {
			return err
		}
		steps = append(steps,
			[]string{"link", "add", "uplink", "netns", name, "type", "veth", "peer", "name", port, "netns", bridge},
			[]string{"-n", bridge, "link", "set", port, "master", "bridge", "up"},
			[]string{"-n", name, "address", "add", fmt.Sprintf("%s.%d/24", network, i+1), "dev", "uplink"},
			[]string{"-n", name, "link", "set", "uplink", "up"},
			[]string{"-n", name, "link", "set", "lo", "up"})
	}
	for _, s := range steps {
		if err := ip(ctx, s...); err != nil {
			return err
		}
	}
	return nil
}

func (w *Namespaces) add(ctx context.Context, name string) error {
	if err := ip(ctx, "netns", "add", name); err != nil {
		return err
	}
	w.names = append(w.names, name)
	return nil
}

func (w *Namespaces) name(i int) string { return fmt.Sprintf("%s-n%d", w.tag, i+1) }

// Address is host:port for the cluster port of the i-th.
func (w *Namespaces) Address(i int) string { return fmt.Sprintf("%s.%d:14747", network, i+1) }

// Enter are the words before a command that run it in the i-th.
func (w *Namespaces) Enter(i int) []string { return []string{"ip", "netns", "exec", w.name(i)} }

// Cut makes a black hole of the i-th's connection; Heal undoes it.
func (w *Namespaces) Cut(ctx context.Context, i int) error { return w.port(ctx, i, "nomaster") }

// Heal lets packets through again.
func (w *Namespaces) Heal(ctx context.Context, i int) error {
	return w.port(ctx, i, "master", "bridge")
}

func (w *Namespaces) port(ctx context.Context, i int, change ...string) error {
	return ip(ctx, append([]string{"-n", w.tag + "-switch", "link", "set", fmt.Sprintf("port%d", i+1)}, change...)...)
}

// Close removes the namespaces. What runs in them has to have ended.
func (w *Namespaces) Close() error {
	var err error
	for _, name := range w.names {
		err = errors.Join(err, ip(context.Background(), "netns", "delete", name))
	}
	return err
}

func ip(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

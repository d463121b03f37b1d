package world

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Ports on the nodes' own addresses.
const (
	clusterPort = 14747
	doorPort    = 8080
)

const hostPart = 254 // of the bridge's address

// network is the nodes' links, joined by a bridge that this machine's network has too.
type network struct {
	tag    string
	bridge string
	prefix string // of the addresses, three parts
}

func openNetwork(ctx context.Context, tag string, pid, nodes int) (*network, error) {
	prefix, err := freePrefix(pid)
	if err != nil {
		return nil, err
	}
	n := &network{tag: tag, bridge: bridgeOf(pid), prefix: prefix}
	if err := run(ctx, "ip", "link", "add", n.bridge, "type", "bridge", "forward_delay", "0"); err != nil {
		return nil, err
	}
	if err := run(ctx, "ip", "address", "add", fmt.Sprintf("%s.%d/24", prefix, hostPart), "dev", n.bridge); err != nil {
		return nil, err
	}
	if err := run(ctx, "ip", "link", "set", n.bridge, "up"); err != nil {
		return nil, err
	}
	for i := range nodes {
		if err := n.add(ctx, i); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// bridgeOf is the bridge's name, which the kernel bounds to 15 bytes.
func bridgeOf(pid int) string { return fmt.Sprintf("ul%d", pid) }

// freePrefix finds a network that this machine does not use.
func freePrefix(pid int) (string, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("list this machine's addresses: %w", err)
	}
	for try := range 200 {
		prefix := fmt.Sprintf("10.213.%d", (pid+try)%250)
		used := false
		for _, a := range addrs {
			used = used || strings.HasPrefix(a.String(), prefix+".")
		}
		if !used {
			return prefix, nil
		}
	}
	return "", errors.New("all networks from 10.213.0.0/16 are in use here")
}

func (n *network) add(ctx context.Context, i int) error {
	ns, port := n.namespace(i), n.port(i)
	for _, step := range [][]string{
		{"netns", "add", ns},
		{"link", "add", port, "type", "veth", "peer", "name", "uplink", "netns", ns},
		{"link", "set", port, "master", n.bridge, "up"},
		{"-n", ns, "address", "add", n.address(i) + "/24", "dev", "uplink"},
		{"-n", ns, "link", "set", "uplink", "up"},
		{"-n", ns, "link", "set", "lo", "up"},
	} {
		if err := run(ctx, "ip", step...); err != nil {
			return err
		}
	}
	return nil
}

func (n *network) namespace(i int) string { return fmt.Sprintf("%s-n%d", n.tag, i+1) }
func (n *network) port(i int) string      { return fmt.Sprintf("%sn%d", n.bridge, i+1) }
func (n *network) address(i int) string   { return fmt.Sprintf("%s.%d", n.prefix, i+1) }

// plug takes the i-th node's cable out of the bridge, or puts it back. No carrier is
// lost and nothing is refused: packets vanish, those of clients too.
func (n *network) plug(ctx context.Context, i int, in bool) error {
	if in {
		return run(ctx, "ip", "link", "set", n.port(i), "master", n.bridge)
	}
	return run(ctx, "ip", "link", "set", n.port(i), "nomaster")
}

// inNamespace runs f on a thread inside the namespace: sockets that f makes belong
// there for as long as they live. f must not start goroutines that make more.
func inNamespace(name string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread is not unlocked: it ends with the goroutine, so no other one ever
		// runs in the wrong network.
		runtime.LockOSThread()
		ns, err := os.Open(filepath.Join("/run/netns", name))
		if err != nil {
			done <- fmt.Errorf("open namespace: %w", err)
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter namespace %s: %w", name, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// run runs a program and puts what it printed into the error.
func run(ctx context.Context, name string, args ...string) error {
	_, err := output(ctx, "", name, args...)
	return err
}

func output(ctx context.Context, input, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	if input != "" {
		cmd.Stdin = strings.NewReader(input)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

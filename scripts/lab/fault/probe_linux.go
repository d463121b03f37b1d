package fault

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ushercluster/usher/scripts/lab/world"
)

// probeWithin is how long a probe has for what takes no time when all is well.
const probeWithin = time.Second

// answers is an error unless the agent answers on its socket, and its door takes
// connections from clients.
func answers(ctx context.Context, n *world.Node) error {
	if err := asked(ctx, n); err != nil {
		return err
	}
	return doorOpen(ctx, n, probeWithin)
}

func asked(ctx context.Context, n *world.Node) error {
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	if _, err := n.Client.Health(ctx); err != nil {
		return fmt.Errorf("%s does not answer: %w", n.Name, err)
	}
	return nil
}

func doorOpen(ctx context.Context, n *world.Node, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", n.Door)
	if err != nil {
		return fmt.Errorf("the door of %s: %w", n.Name, err)
	}
	return c.Close()
}

// gone is an error if the agent runs or its door is open.
func gone(ctx context.Context, nodes ...*world.Node) error {
	for _, n := range nodes {
		if n.Running() {
			return fmt.Errorf("%s runs", n.Name)
		}
		if doorOpen(ctx, n, probeWithin) == nil {
			return fmt.Errorf("the door of %s is open", n.Name)
		}
	}
	return nil
}

// running is an error unless all agents run and answer.
func running(ctx context.Context, nodes ...*world.Node) error {
	for _, n := range nodes {
		if err := answers(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// datagrams sends so many from one node's machine to another's and counts how many
// arrive.
func datagrams(from, to *world.Node, count int) (arrived int, err error) {
	var in, out net.Conn
	var ln net.PacketConn
	if err := to.Here(func() (err error) {
		ln, err = net.ListenPacket("udp4", net.JoinHostPort(to.IP, "0"))
		return err
	}); err != nil {
		return 0, fmt.Errorf("listen for datagrams: %w", err)
	}
	defer ln.Close()
	in = ln.(*net.UDPConn)
	if err := from.Here(func() (err error) {
		out, err = net.Dial("udp4", ln.LocalAddr().String())
		return err
	}); err != nil {
		return 0, fmt.Errorf("send datagrams: %w", err)
	}
	defer out.Close()
	for range count {
		_, _ = out.Write([]byte{1}) // one that is refused on the way is a lost one
		time.Sleep(time.Millisecond)
	}
	if err := in.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		return 0, err
	}
	for buf := make([]byte, 16); arrived < count; arrived++ {
		if _, _, err := ln.ReadFrom(buf); err != nil {
			break // all that came were read
		}
	}
	return arrived, nil
}

// syncTime is how long it takes to bring a small file to the node's disk.
func syncTime(n *world.Node) (time.Duration, error) {
	name := filepath.Join(n.Top(), "probe")
	began := time.Now()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("probe the disk of %s: %w", n.Name, err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 4096)); err != nil {
		return 0, fmt.Errorf("probe the disk of %s: %w", n.Name, err)
	}
	if err := unix.Fsync(int(f.Fd())); err != nil {
		return 0, fmt.Errorf("probe the disk of %s: %w", n.Name, err)
	}
	return time.Since(began), nil
}

// processState is the letter of /proc/PID/stat: T is stopped.
func processState(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", fmt.Errorf("look at process %d: %w", pid, err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return rest[:min(1, len(rest))], nil
}

package world

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Messages of agents' logs.
const (
	Leads = "this node is the central node now"  // Term: the one that it leads
	Gone  = "the central node's process is gone" // Term: the one that it had led
	Stops = "agent stops"
)

// Line is one line of an agent's log.
type Line struct {
	Node    string    `json:"-"`
	At      time.Time `json:"time"` // by the agent's clock
	Message string    `json:"message"`
	Term    uint64    `json:"term"`
}

// Lines are those of the node's log, since the world was made, that have one of the messages.
func (n *Node) Lines(messages ...string) ([]Line, error) {
	f, err := os.Open(n.Log())
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	defer f.Close()
	lines, err := linesOf(f, messages)
	if err != nil {
		return nil, fmt.Errorf("read log of %s: %w", n.Name, err)
	}
	for i := range lines {
		lines[i].Node = n.Name
	}
	return lines, nil
}

// maxLine bounds a line of a log.
const maxLine = 1 << 20

// linesOf leaves out what is no line of ours: the words of a crash, and an end that was torn
// off.
func linesOf(r io.Reader, messages []string) ([]Line, error) {
	var out []Line
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	for s.Scan() {
		var l Line
		if json.Unmarshal(s.Bytes(), &l) == nil && slices.Contains(messages, l.Message) {
			out = append(out, l)
		}
	}
	return out, s.Err()
}

// KeepLogs copies the agents' logs to a directory.
func (w *World) KeepLogs(dir string) error {
	for _, n := range w.Nodes {
		text, err := os.ReadFile(n.Log())
		if err != nil {
			return fmt.Errorf("keep log: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, n.Name+".log"), text, 0o644); err != nil {
			return fmt.Errorf("keep log: %w", err)
		}
	}
	return nil
}

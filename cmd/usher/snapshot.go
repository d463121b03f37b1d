package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/backup"
	"github.com/ushercluster/usher/agent/durable"
	"github.com/ushercluster/usher/agent/identity"
)

func (p *program) snapshotCommand() *cli.Command {
	return &cli.Command{
		Name: "snapshot", Usage: "save the cluster's state, look at what was saved, and restore it",
		Subcommands: []*cli.Command{
			{
				Name: "save", Usage: "save the whole state to a file that only the recovery key opens", ArgsUsage: "FILE",
				Description: "Any node will do, and the cluster goes on meanwhile. The file holds settings, tasks with their history, tokens, and all secrets; it is checked before it gets its name. Every node also saves one by itself: see the settings snapshot.interval and snapshot.keep.",
				Flags: []cli.Flag{
					toggle("stale", "what the node that answers has, without a majority's word that it is the newest"),
					toggle("force", "replace a file that is there"),
				},
				Action: p.action(exactly(1), (*call).snapshotSave),
			},
			{
				Name: "inspect", Usage: "check a file and show what is in it", ArgsUsage: "FILE",
				Description: "Without the recovery key the check sum is verified and what the file says of itself is shown. With it the whole state is opened and read.",
				Flags:       []cli.Flag{recoveryKeyFlag()},
				Action:      p.snapshotInspect,
			},
			p.snapshotRestoreCommand(),
		},
	}
}

func recoveryKeyFlag() cli.Flag {
	return text("recovery-key-file", "FILE", "file that holds the recovery key, - for standard input [$USHER_RECOVERY_KEY holds the key itself]")
}

// recoveryKey finds the key; identity.ErrNoSecret when none was given.
func (p *program) recoveryKey(c *cli.Context) (identity.RecoveryKey, error) {
	value, _ := p.env("USHER_RECOVERY_KEY")
	text, err := identity.ReadSecret(c.String("recovery-key-file"), value, p.stdin)
	if errors.Is(err, identity.ErrNoSecret) {
		return identity.RecoveryKey{}, err
	} else if err != nil {
		return identity.RecoveryKey{}, failed("name the file that holds what usher init printed, and that you may read", "%w", err)
	}
	if strings.HasPrefix(text, "{") { // what usher init --output json printed, whole
		var printed initAnswer
		if err := json.Unmarshal([]byte(text), &printed); err == nil && printed.RecoveryKey != "" {
			text = printed.RecoveryKey
		}
	}
	key, err := identity.ParseRecoveryKey(text)
	if err != nil {
		return key, failed("type it as usher init printed it: 12 groups of 5 characters", "%w", err)
	}
	return key, nil
}

func (p *program) mustRecoveryKey(c *cli.Context) (identity.RecoveryKey, error) {
	key, err := p.recoveryKey(c)
	if errors.Is(err, identity.ErrNoSecret) {
		return key, usage("name its file with --recovery-key-file, - for standard input, or set USHER_RECOVERY_KEY",
			"this needs the recovery key that usher init printed")
	}
	return key, err
}

// snapshotAnswer is what save and inspect print as JSON.
type snapshotAnswer struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
	backup.Header
	Opened bool `json:"opened"` // with the recovery key, to its end
}

func (o *printer) snapshot(p *program, a snapshotAnswer) {
	newest := ""
	if a.Unconfirmed {
		newest = "not known: no majority answered when it was saved, or none was asked"
	}
	o.facts(
		"file", a.File,
		"size", bytesText(uint64(a.Bytes)),
		"cluster", a.ClusterName+" ("+a.ClusterID+")",
		"revision", strconv.FormatUint(a.Revision, 10),
		"last change", a.AsOf.UTC().Format(time.RFC3339)+" ("+p.when(a.AsOf)+")",
		"saved", a.Taken.UTC().Format(time.RFC3339)+" on "+a.Node+" by usher "+a.Version,
		"newest then", newest,
	)
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(a.Rows)) {
		rows = append(rows, []string{name, strconv.Itoa(a.Rows[name])})
	}
	o.line("")
	o.table([]string{"TABLE", "ROWS"}, rows)
}

func (c *call) snapshotSave() error {
	path := c.arg(0)
	if path == "" || path == "-" {
		return usage("name a file: it is checked before it gets its name", "a snapshot is not written to %q", path)
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return failed("name a file in it", "%s is a directory", path)
	} else if err == nil && !c.cli.Bool("force") {
		return failed("name another file, or say --force", "%s is there already", path)
	}
	var opts []admin.Option
	if c.cli.Bool("stale") {
		opts = append(opts, admin.Stale())
	}
	g := &progress{p: c.program}
	err := writeWhole(path, func(f *os.File) error {
		err := c.api.Snapshot(c.ctx, &told{Writer: f, every: 16 << 20, tell: func(n int64) { g.say("%s", bytesText(uint64(n))) }}, opts...)
		g.done()
		if err != nil {
			return err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		r, err := backup.NewReader(f)
		if err == nil {
			err = r.Verify()
		}
		if err != nil {
			return failed("try again; the agent's log says why it was cut", "what arrived is not whole: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	a, err := c.inspect(path, nil)
	if err != nil {
		return err
	}
	return c.emit(c.cli, a, func(o *printer) {
		o.snapshot(c.program, a)
		o.line("\nonly the recovery key that usher init printed opens it; check that you have it:\n\n  usher snapshot inspect %s --recovery-key-file FILE", shellQuote(path))
	})
}

// told tells how much has passed.
type told struct {
	io.Writer
	every, n, last int64
	tell           func(int64)
}

// Write implements io.Writer.
func (t *told) Write(b []byte) (int, error) {
	n, err := t.Writer.Write(b)
	if t.n += int64(n); t.n-t.last >= t.every {
		t.last = t.n
		t.tell(t.n)
	}
	return n, err
}

// writeWhole lets a file appear under its name when it is whole and on the disk; only
// this user reads it.
func writeWhole(path string, write func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		var in *fs.PathError
		if errors.As(err, &in) { // without the name that it has before its own
			err = in.Err
		}
		return failed("make the directory, or name a file elsewhere", "write %s: %w", path, err)
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = durable.Rename(f.Name(), path)
	}
	if err != nil {
		if rerr := os.Remove(f.Name()); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			return errors.Join(err, rerr)
		}
	}
	return err
}

func (p *program) snapshotInspect(c *cli.Context) error {
	if err := exactly(1).check(c); err != nil {
		return err
	}
	key, err := p.recoveryKey(c)
	with := &key
	if errors.Is(err, identity.ErrNoSecret) {
		with, err = nil, nil
	}
	if err != nil {
		return err
	}
	a, err := p.inspect(c.Args().First(), with)
	if err != nil {
		return err
	}
	return p.emit(c, a, func(o *printer) {
		o.snapshot(p, a)
		if a.Opened {
			o.line("\nthe recovery key opens it, and all of it can be read")
		} else {
			o.line("\nits check sum is right; whether your recovery key opens it is not known: give --recovery-key-file")
		}
	})
}

// inspect verifies a file; with a key it opens all of it.
func (p *program) inspect(path string, key *identity.RecoveryKey) (snapshotAnswer, error) {
	f, err := openSnapshotFile(path)
	if err != nil {
		return snapshotAnswer{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return snapshotAnswer{}, fmt.Errorf("read snapshot: %w", err)
	}
	a := snapshotAnswer{File: path, Bytes: info.Size()}
	if key != nil {
		s, err := agent.OpenSnapshot(f, *key)
		if err != nil {
			return a, unreadableSnapshot(path, err)
		}
		a.Header, a.Opened = s.Header, true
		return a, nil
	}
	r, err := backup.NewReader(f)
	if err == nil {
		a.Header = r.Header()
		err = r.Verify()
	}
	if err != nil {
		return a, unreadableSnapshot(path, err)
	}
	return a, nil
}

func openSnapshotFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err == nil {
		var info os.FileInfo
		if info, err = f.Stat(); err == nil && info.IsDir() {
			err = fmt.Errorf("%s is a directory", path)
		}
		if err != nil {
			f.Close()
		}
	}
	if err != nil {
		return nil, failed("name a file that usher snapshot save wrote, and that you may read", "read snapshot: %w", err)
	}
	return f, nil
}

func unreadableSnapshot(path string, err error) error {
	next := "use another snapshot: every node keeps its own below its data directory, in snapshots/"
	switch {
	case errors.Is(err, agent.ErrRecoveryKey):
		next = "find the key that usher init printed when this cluster was made"
	case errors.Is(err, agent.ErrTooNew), errors.Is(err, backup.ErrNewer):
		next = "run this with the usher that the cluster ran"
	case errors.Is(err, backup.ErrNoSnapshot):
		next = "name a file that usher snapshot save wrote"
	}
	return failed(next, "%s: %w", path, err)
}

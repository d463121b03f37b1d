package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/doctor"
	"github.com/ushercluster/usher/agent/doctor/probe"
)

func (p *program) doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "look for what is wrong with this node",
		Description: fmt.Sprintf("Looks at this node's configuration, data directory, certificates, ports, disk, memory and clock, at the way to each other node and back, and at quorum, versions and engines; a line for each, with what to do where it is not well. "+
			"With the agent up it is asked; without it the command looks into the configuration and the data directory itself, changes nothing, and says what it could not find out. It takes at most ten seconds.\n\n"+
			"Warned of are: certificates that end within %d days, clocks more than %s apart, less than 1 GiB or 10 %% of disk space, writes that take more than %s to be on disk, fewer than %d file descriptors. "+
			"Failed are: expired certificates, clocks more than %s apart, less than 256 MiB, more than %s, a node that cannot be reached, an engine that is down, no quorum.\n\n"+
			"Exit code 0: all is well, or there are only warnings; 1: at least one check failed.",
			int(doctor.CertificateWarning/(24*time.Hour)), doctor.ClockWarning, doctor.SyncWarning, doctor.FilesWarning, doctor.ClockFailed, doctor.SyncFailed),
		Flags:  configFlags("data-dir", "socket", "bind", "door", "advertise"),
		Action: p.doctor,
	}
}

// examiner looks at this machine without its agent.
type examiner interface {
	Examine(ctx context.Context, cfg config.Config) doctor.Facts
	Unit(ctx context.Context) *doctor.Unit // nil: systemd is not in charge
	// Describe is the machine as JSON, Journal the service's last lines; none where
	// systemd keeps no journal.
	Describe(ctx context.Context, dataDir string) ([]byte, error)
	Journal(ctx context.Context) ([]byte, error)
}

// systemExaminer is the real one.
type systemExaminer struct{}

func (systemExaminer) Examine(ctx context.Context, cfg config.Config) doctor.Facts {
	return agent.Examine(ctx, cfg, agent.ExamineOptions{})
}

func (systemExaminer) Unit(ctx context.Context) *doctor.Unit { return probe.Unit(ctx) }

func (systemExaminer) Describe(ctx context.Context, dataDir string) ([]byte, error) {
	return probe.Describe(ctx, dataDir)
}

func (systemExaminer) Journal(ctx context.Context) ([]byte, error) { return probe.Journal(ctx) }

// Bounds of an examination: all of it, and the first question.
const (
	doctorBound = 10 * time.Second
	helloBound  = 2 * time.Second
)

// doctorAnswer is what doctor prints as JSON.
type doctorAnswer struct {
	Node   *admin.Ref     `json:"node"` // null: no agent answered
	At     time.Time      `json:"at"`
	Failed int            `json:"failed"`
	Warned int            `json:"warnings"`
	Checks []doctor.Line  `json:"checks"`
	config *config.Config // nil: not valid, or that of another machine
}

func (p *program) doctor(c *cli.Context) error {
	if err := exactly(0).check(c); err != nil {
		return err
	}
	ctx, cancel := p.untilSignal(c.Context)
	defer cancel()
	a, err := p.examine(ctx, c)
	if err != nil {
		return err
	}
	if err := p.emit(c, a, func(o *printer) { o.doctor(a) }); err != nil {
		return err
	}
	if a.Failed > 0 {
		return &failure{exitFailed, fmt.Errorf("%s failed", count(a.Failed, "check")), "mend what the lines say, the first one first"}
	}
	return nil
}

// examine has the agent examine its node, or does it from outside where none answers.
func (p *program) examine(ctx context.Context, c *cli.Context) (doctorAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, doctorBound)
	defer cancel()
	local := p.address(c) == "" || isSocket(p.address(c))
	file, cfg, err := p.fileConfig(c)
	if err != nil && !isConfigFault(err) {
		return doctorAnswer{}, err
	}
	client, err2 := p.connectTo(c, cfg)
	if err2 != nil {
		return doctorAnswer{}, err2
	}
	defer client.Close()
	out := doctorAnswer{At: p.now().UTC()}
	if local {
		out.Checks = append(out.Checks, doctor.JudgeConfig(doctor.Config{Path: file, Err: err}))
		if err == nil {
			out.config = &cfg
		}
	}
	answers, err := p.hello(ctx, client)
	switch {
	case err != nil:
		return doctorAnswer{}, err
	case answers:
		err = p.examineByAgent(ctx, client, &out, local)
	case !local:
		return doctorAnswer{}, fmt.Errorf("%w at %s", admin.ErrUnreachable, client.Address())
	default:
		p.examineAlone(ctx, cfg, client.Address(), &out)
	}
	n := doctor.Tally(out.Checks)
	out.Failed, out.Warned = n[doctor.Failed], n[doctor.Warning]
	return out, err
}

// hello reports whether an agent answers at all.
func (p *program) hello(ctx context.Context, client *admin.Client) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, helloBound)
	defer cancel()
	_, err := client.Health(ctx)
	var refused *admin.Problem
	switch {
	case err == nil, errors.As(err, &refused):
		return true, nil
	case errors.Is(err, fs.ErrPermission):
		return false, &failure{exitDenied, err, "run it as root or as the agent's user: sudo usher ..."}
	case errors.Is(err, admin.ErrUnreachable):
		return false, nil
	}
	return false, err
}

func (p *program) examineByAgent(ctx context.Context, client *admin.Client, out *doctorAnswer, local bool) error {
	r, err := client.Doctor(ctx)
	if isCode(err, admin.CodeNotFound) {
		return failed("upgrade usher on that node and restart its agent", "the agent at %s is older than this command and cannot examine itself", client.Address())
	}
	if err != nil {
		return err
	}
	out.Node, out.At = &r.Node, r.At
	out.Checks = append(out.Checks, doctor.JudgeAgent(client.Address(), "", 0))
	if local {
		if unit := p.examiner.Unit(ctx); unit != nil {
			out.Checks = append(out.Checks, doctor.JudgeUnit(unit, true))
		}
	}
	out.Checks = append(out.Checks, r.Checks...)
	return nil
}

func (p *program) examineAlone(ctx context.Context, cfg config.Config, tried string, out *doctorAnswer) {
	unit := p.examiner.Unit(ctx)
	f := p.examiner.Examine(ctx, cfg)
	if unit != nil && unit.Limit > 0 {
		f.Files = &doctor.Files{Limit: unit.Limit, Open: -1}
	}
	holder := 0
	if f.Dir != nil {
		holder = f.Dir.Holder
	}
	out.Checks = append(out.Checks, doctor.JudgeAgent("", tried, holder), doctor.JudgeUnit(unit, false))
	out.Checks = append(out.Checks, doctor.Judge(f)...)
}

// usualConfig is where install.sh puts the configuration.
const usualConfig = "/etc/usher/usher.yaml"

// fileConfig is the configuration that the agent of this machine would have, and the file
// that it is from: the one that is named, or else the one that the installation made. A
// configuration with faults is returned with them.
func (p *program) fileConfig(c *cli.Context) (path string, cfg config.Config, err error) {
	path = c.String("config")
	if path == "" {
		path, _ = p.env("USHER_CONFIG")
	}
	file := config.Layer{}
	if path == "" && p.usual != "" {
		if _, err := os.Stat(p.usual); err == nil {
			path = p.usual
		}
	}
	if path != "" {
		if file, err = config.ReadFile(path); err != nil {
			return path, p.ownConfig(c), unreadable(err)
		}
	}
	cfg, _, err = merge(config.Flags(given(c)), config.Environment(p.env), file, config.Defaults(p.facts))
	return path, cfg, err
}

// isConfigFault reports whether a configuration is at fault, or its file cannot be read.
func isConfigFault(err error) bool {
	var problems config.Problems
	var f *failure
	return errors.As(err, &problems) || errors.As(err, &f) && f.code == exitPermanent
}

func isSocket(address string) bool { return strings.HasPrefix(address, "unix:") }

// connectTo is connect to the agent of a configuration, unless the line names another one.
func (p *program) connectTo(c *cli.Context, cfg config.Config) (*admin.Client, error) {
	if p.address(c) != "" {
		return p.connect(c)
	}
	for _, path := range []string{cfg.API.Socket, filepath.Join(cfg.DataDir, config.SocketName)} {
		if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
			return p.client(c, "unix:"+path, true)
		}
	}
	switch {
	case cfg.API.Listen != "" && cfg.API.TLSCert != "":
		return p.client(c, "https://"+cfg.API.Listen, true)
	case cfg.API.Listen != "":
		return p.client(c, "http://"+cfg.API.Listen, true)
	}
	return p.connect(c)
}

// verdict is a word of one width, in the colour of what it says.
func (o *printer) verdict(v doctor.Verdict) string {
	word := fmt.Sprintf("%-7s", string(v))
	colour, painted := map[doctor.Verdict]string{doctor.OK: green, doctor.Warning: yellow, doctor.Failed: red}[v]
	if !painted || !o.colour {
		return word
	}
	return colour + word + plain
}

func (o *printer) doctor(a doctorAnswer) {
	width := 0
	for _, l := range a.Checks {
		width = max(width, len([]rune(printable(l.Check))))
	}
	for _, l := range a.Checks {
		check := printable(l.Check)
		for len([]rune(check)) < width {
			check += " "
		}
		o.b.WriteString(o.verdict(l.Verdict) + "  " + check + "  " + printable(l.Seen) + "\n")
		if l.Next != "" {
			o.b.WriteString("         next: " + printable(l.Next) + "\n")
		}
	}
	n := doctor.Tally(a.Checks)
	o.line("\n%s: %d ok, %s, %d failed, %d skipped", count(len(a.Checks), "check"), n[doctor.OK], count(n[doctor.Warning], "warning"), n[doctor.Failed], n[doctor.Skipped])
}

package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/ushercluster/usher/agent/config"
)

// program is one run of the command with everything that it takes from its
// surroundings.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       terminals
	env            func(key string) (string, bool)
	facts          config.Facts
	now            func() time.Time
	signals        <-chan os.Signal
	machine        machine // this machine's part of a cluster
	executable     string  // what the demonstration runs its agents with
	build          build
	poll           time.Duration // between looks at what is waited for
	examiner       examiner
	usual          string // the configuration file that doctor looks at when none is named
}

// terminals says which streams a person looks at.
type terminals struct{ in, out, err bool }

const (
	defaultPoll  = time.Second
	leastTimeout = 10 * time.Millisecond
)

// systemProgram takes everything from the operating system.
func systemProgram(signals <-chan os.Signal) *program {
	executable, err := os.Executable()
	if err != nil {
		executable = os.Args[0] // only the demonstration needs it, and says so
	}
	b := readBuild()
	return &program{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		terminal: terminals{
			in:  term.IsTerminal(int(os.Stdin.Fd())),
			out: term.IsTerminal(int(os.Stdout.Fd())),
			err: term.IsTerminal(int(os.Stderr.Fd())),
		},
		env: os.LookupEnv, facts: systemFacts(os.LookupEnv), now: wallClock(os.LookupEnv), signals: signals,
		machine: systemMachine{version: b.Version}, executable: executable, build: b, poll: defaultPoll,
		examiner: systemExaminer{}, usual: usualConfig,
	}
}

// systemFacts is what the configuration's defaults depend on. What cannot be found
// out stays empty, and Validate then asks for it.
func systemFacts(env func(string) (string, bool)) config.Facts {
	f := config.Facts{Windows: runtime.GOOS == "windows", Root: os.Geteuid() == 0}
	f.Hostname, _ = os.Hostname()
	f.StateDir, _ = env("STATE_DIRECTORY")
	f.RuntimeDir, _ = env("RUNTIME_DIRECTORY")
	home, _ := os.UserHomeDir()
	xdg, _ := env("XDG_DATA_HOME")
	switch {
	case f.Windows:
		f.UserDir, _ = os.UserConfigDir()
	case filepath.IsAbs(xdg):
		f.UserDir = xdg
	case home == "":
	case runtime.GOOS == "darwin":
		f.UserDir = filepath.Join(home, "Library", "Application Support")
	default:
		f.UserDir = filepath.Join(home, ".local", "share")
	}
	return f
}

// run carries out a command line without the program's name and returns the exit
// code.
func (p *program) run(args []string) int {
	l, err := arrange(p.globals(), p.commands(), args)
	if err == nil && l.help {
		_, err = io.WriteString(p.stdout, helpText(p.globals(), p.commands(), l.path))
		return p.report(err)
	}
	if err != nil {
		return p.report(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	return p.report(p.app().RunContext(ctx, l.argv()))
}

// app is the command tree for the flag parser. Help, suggestions and errors are
// ours: see arrange, help.go and exit.go.
func (p *program) app() *cli.App {
	return &cli.App{
		Name: "usher", Flags: p.globals(), Commands: p.commands(),
		HideHelp: true, HideHelpCommand: true, HideVersion: true,
		Reader: p.stdin, Writer: p.stdout, ErrWriter: p.stderr,
		DisableSliceFlagSeparator: true,
		OnUsageError:              badFlag,
		ExitErrHandler:            func(*cli.Context, error) {}, // reported once, in run
		Before:                    checkGlobals,
	}
}

// commands is every command in the order of the help.
func (p *program) commands() []*cli.Command {
	all := []*cli.Command{
		p.initCommand(), p.joinCommand(), p.agentCommand(), p.demoCommand(), p.engineCommand(), p.doctorCommand(), p.debugCommand(),
		p.statusCommand(), p.clusterCommand(), p.centralCommand(), p.nodeCommand(), p.sessionCommand(), p.documentCommand(),
		p.settingCommand(), p.taskCommand(), p.joinTokenCommand(), p.tokenCommand(), p.snapshotCommand(), p.recoverCommand(), p.leaveCommand(),
		p.validateCommand(), p.versionCommand(), p.completionCommand(), p.docsCommand(),
	}
	for _, c := range all {
		finish(c, "usher "+c.Name)
		c.HelpName = c.Name // the library puts the program's name before it
	}
	return all
}

// finish sets what all commands have in common; name is the command's full one.
func finish(c *cli.Command, name string) {
	c.HideHelp, c.HideHelpCommand, c.OnUsageError, c.HelpName = true, true, badFlag, name
	for _, sub := range c.Subcommands {
		finish(sub, name+" "+sub.Name)
	}
	if c.Action == nil {
		c.Action = func(*cli.Context) error { return missingCommand(c) }
	}
}

// globals are the flags that stand anywhere on the line.
func (p *program) globals() []cli.Flag {
	return []cli.Flag{
		text("address", "ADDRESS", "admin API to ask: unix:/path, http://host:port or https://host:port; by default this machine's own [$USHER_ADDRESS]"),
		text("token-file", "FILE", "file that holds the API token, - for standard input [$USHER_TOKEN holds the token itself]"),
		withDefault(text("output", "FORMAT", "table for people, json for programs"), formatTable),
		&cli.DurationFlag{Name: "timeout", Usage: "`DURATION` that one call of the admin API may take", Value: 15 * time.Second},
	}
}

// checkGlobals refuses what no command could do anything with.
func checkGlobals(c *cli.Context) error {
	if f := c.String("output"); f != formatTable && f != formatJSON {
		return usage("use --output table or --output json", "--output %q is no format", f)
	}
	if d := c.Duration("timeout"); d < leastTimeout {
		return usage("give a time such as --timeout 10s, at least "+leastTimeout.String(), "--timeout %s is too short for an answer", d)
	}
	return nil
}

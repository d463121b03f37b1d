package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/identity"
)

// Exit codes. They are part of the interface: see --help.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNoQuorum    = 3
	exitUnreachable = 4
	exitDenied      = 5
	exitPermanent   = 78 // EX_CONFIG of sysexits(3): a supervisor must not try again
)

// failure is an error with the step to take.
type failure struct {
	code int
	what error
	next string
}

func (f *failure) Error() string { return f.what.Error() }
func (f *failure) Unwrap() error { return f.what }

// usage is the fault of whoever typed the line.
func usage(next, what string, args ...any) error {
	return &failure{exitUsage, fmt.Errorf(what, args...), next}
}

// failed is any other fault with a step to take.
func failed(next, what string, args ...any) error {
	return &failure{exitFailed, fmt.Errorf(what, args...), next}
}

// permanent is a fault that starting again will not mend.
func permanent(next, what string, args ...any) error {
	return &failure{exitPermanent, fmt.Errorf(what, args...), next}
}

// badFlag is called by the flag parser for what arrange has let pass.
func badFlag(c *cli.Context, err error, _ bool) error {
	return usage("see "+c.Command.HelpName+" --help", "%w", err)
}

// report prints an error to people and returns the exit code.
func (p *program) report(err error) int {
	if err == nil {
		return exitDone
	}
	f := explain(err)
	what := strings.TrimRight(f.what.Error(), "\n")
	fmt.Fprintln(p.stderr, "usher: "+what)
	if f.next != "" {
		fmt.Fprintln(p.stderr, "next: "+f.next)
	}
	return f.code
}

// explain finds the exit code and the next step of an error. Handled once: nobody
// below prints errors.
func explain(err error) *failure {
	var f *failure
	var problem *admin.Problem
	var refused *identity.JoinError
	var problems config.Problems
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &problem):
		return explainProblem(err, problem)
	case errors.As(err, &refused):
		return joinFailure(err, refused)
	case errors.As(err, &problems):
		return &failure{exitPermanent, err, ""} // each one names its own next step
	case isRemoved(err):
		return &failure{exitPermanent, err, "usher leave --purge clears the data directory, so that the machine can join again"}
	case diskFull(err): // whatever else is said of it: there may be room again
		return &failure{exitFailed, err, "make room on that file system: usher doctor shows how much is free"}
	case isDamaged(err):
		return &failure{exitPermanent, err, "look at the disk; then on another server usher join-token create --replace NODE, and here usher leave --purge and join with it: docs/operations.md, When nodes are down"}
	case isRolledBack(err):
		return &failure{exitFailed, err, "start the agent again: it sets the old state aside and follows the cluster anew"}
	case portBusy(err): // whatever else is said of it: the port may be given back
		return &failure{exitFailed, err, "stop the program that has the port, or choose another one"}
	case isPermanent(err):
		return &failure{exitPermanent, err, "mend that, then start again; usher agent --print-config shows where each value comes from"}
	case errors.Is(err, admin.ErrUnreachable) && errors.Is(err, fs.ErrPermission):
		return &failure{exitDenied, err, "the agent's socket is for root and the agent's user: use sudo, or --address with a token in USHER_TOKEN"}
	case errors.Is(err, admin.ErrUnreachable):
		return &failure{exitUnreachable, err, "is the agent running? start it with usher agent, or name another one with --address"}
	case errors.Is(err, context.Canceled):
		return &failure{exitFailed, errors.New("interrupted"), ""}
	}
	return &failure{exitFailed, err, ""}
}

func explainProblem(err error, p *admin.Problem) *failure {
	f := &failure{exitFailed, err, p.Next}
	switch p.Code {
	case admin.CodeNoQuorum, admin.CodeNotLeader:
		f.code = exitNoQuorum
		f.or("most servers must be up: see usher status")
	case admin.CodeUnauthenticated:
		f.code = exitDenied
		f.or("give a token: set USHER_TOKEN, or --token-file FILE")
	case admin.CodeDenied, admin.CodeCrossOrigin:
		f.code = exitDenied
		f.or("use a token with a higher role: see usher token list")
	case admin.CodeUnreachable:
		f.code = exitUnreachable
		f.or("see usher node list")
	case admin.CodeUnknownOutcome, admin.CodeTimeout:
		f.or("look whether it was done before you repeat it")
	case admin.CodeNotFound:
		f.or("check the name: the list commands show what there is")
	case admin.CodePrecondition, admin.CodeConflict:
		f.or("somebody was faster: look again, then repeat")
	case admin.CodeInvalid:
		f.or("correct the value, then repeat")
	case admin.CodeClosing, admin.CodeBehind, admin.CodeTooMany:
		f.or("try again in a moment, or ask another node with --address")
	case admin.CodeInternal:
		f.or("read the log of the agent that answered")
	default: // a refusal by the state, which says itself what it minds
		f.or("see usher status, mend what is said above, then repeat")
	}
	return f
}

// or sets the next step unless the API gave one.
func (f *failure) or(next string) {
	if f.next == "" {
		f.next = next
	}
}

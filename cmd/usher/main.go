// Command usher is the whole product in one binary: the agent that runs beside
// session servers, the commands that operate a cluster of them, and a
// demonstration that needs nothing else.
//
// Files are one per command; they hold flags, printing and exit codes, and no
// logic. Everything that a command takes from its surroundings is a field of
// program, so that tests can hand it something else:
//
//	arrange   command line -> command, flags, arguments (pure)
//	program   runs the command: admin API (connect.go) or package agent (node.go)
//	explain   error -> exit code, what, next step
package main

import (
	"os"
	"os/signal"
)

func main() {
	restrictUmask() // before the first file: some libraries create theirs 0644
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, stopSignals()...)
	os.Exit(systemProgram(signals).run(os.Args[1:]))
}

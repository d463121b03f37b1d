//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// restrictUmask keeps files from everybody else, whatever mode a library asks for.
func restrictUmask() { syscall.Umask(0o077) }

// stopSignals end a command; SIGHUP comes when its terminal is closed.
func stopSignals() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} }

// ownGroup keeps the terminal's Ctrl-C from a child: its parent stops it in order.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// connRefused reports whether nothing listens where somebody once did.
func connRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// portBusy reports whether an address could not be bound because another program has it.
func portBusy(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// diskFull reports whether there was no room, or none for this user.
func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// ownedByUs reports whether the file belongs to this user.
func ownedByUs(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// restrictUmask has nothing to do: files inherit the directory's access list.
func restrictUmask() {}

func stopSignals() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

// ownGroup keeps the console's Ctrl-C from a child: its parent stops it in order.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// ownedByUs holds for everything in the user's own temporary directory.
func ownedByUs(os.FileInfo) bool { return true }

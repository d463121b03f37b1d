package main

import (
	"errors"
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

// connRefused reports whether nothing listens where somebody once did. The system says
// WSAECONNREFUSED; syscall.ECONNREFUSED is an invented number.
func connRefused(err error) bool {
	const wsaECONNREFUSED = syscall.Errno(10061)
	return errors.Is(err, wsaECONNREFUSED) || errors.Is(err, syscall.ECONNREFUSED)
}

// portBusy reports whether an address could not be bound because another program has it.
// Some services reserve ports so that the system says WSAEACCES instead.
func portBusy(err error) bool {
	const wsaEADDRINUSE, wsaEACCES = syscall.Errno(10048), syscall.Errno(10013)
	return errors.Is(err, wsaEADDRINUSE) || errors.Is(err, wsaEACCES) || errors.Is(err, syscall.EADDRINUSE)
}

// diskFull reports whether there was no room.
func diskFull(err error) bool {
	const errorHandleDiskFull, errorDiskFull = syscall.Errno(39), syscall.Errno(112)
	return errors.Is(err, errorHandleDiskFull) || errors.Is(err, errorDiskFull)
}

// ownedByUs holds for everything in the user's own temporary directory.
func ownedByUs(os.FileInfo) bool { return true }

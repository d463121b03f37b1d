package admin

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// SystemUser asks the kernel who is at the other end of a Unix socket
// (SO_PEERCRED, unix(7)). Only root and the agent's own user are let in.
func SystemUser(c net.Conn) (string, error) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return "", errors.New("socket user: this is no unix socket")
	}
	uid, err := peerUID(uc)
	if err != nil {
		return "", fmt.Errorf("socket user: %w", err)
	}
	if uid != 0 && int64(uid) != int64(os.Geteuid()) {
		return "", fmt.Errorf("socket user: uid %d is neither root nor the agent's own", uid)
	}
	if u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil && u.Username != "" {
		return u.Username, nil
	}
	return fmt.Sprintf("uid-%d", uid), nil
}

func peerUID(c syscall.Conn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if failed != nil {
		return 0, failed
	}
	return cred.Uid, nil
}

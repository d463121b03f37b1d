package world

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// diskBytes is the size of a node's own file system; it is sparse.
const diskBytes = 256 << 20

// Ioctls of file systems, and the flag that throws away what was not synced: see
// fs/ext4/ext4.h and include/uapi/linux/fs.h of the kernel.
const (
	ext4Shutdown   = 0x8004587d
	shutdownNoLog  = 2
	freezeAll      = 0xc0045877
	thawAll        = 0xc0045878
	ownerExecution = 0o700
)

// disk is a file system of a node's own, in a file.
type disk struct {
	image, mount string
}

func openDisk(ctx context.Context, dir, name string) (*disk, error) {
	d := &disk{image: filepath.Join(dir, name+".img"), mount: filepath.Join(dir, name)}
	f, err := os.OpenFile(d.image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make disk: %w", err)
	}
	if err := f.Truncate(diskBytes); err != nil {
		f.Close()
		return nil, fmt.Errorf("make disk: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("make disk: %w", err)
	}
	if err := d.format(ctx); err != nil {
		return nil, err
	}
	if err := os.Mkdir(d.mount, ownerExecution); err != nil {
		return nil, fmt.Errorf("make disk: %w", err)
	}
	return d, d.attach(ctx)
}

// format makes it empty. It must not be attached.
func (d *disk) format(ctx context.Context) error {
	return run(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", d.image)
}

func (d *disk) attach(ctx context.Context) error {
	return run(ctx, "mount", "-o", "loop", d.image, d.mount)
}

func (d *disk) detach(ctx context.Context) error { return run(ctx, "umount", d.mount) }

// cutPower throws away whatever was not synced. The file system answers every call with
// an error from then on.
func (d *disk) cutPower() error {
	flags := uint32(shutdownNoLog)
	return d.ioctl("cut the power", ext4Shutdown, uintptr(unsafe.Pointer(&flags)))
}

// freeze lets writes wait until thaw.
func (d *disk) freeze() error { return d.ioctl("freeze", freezeAll, 0) }
func (d *disk) thaw() error   { return d.ioctl("thaw", thawAll, 0) }

func (d *disk) ioctl(what string, request uint, arg uintptr) error {
	return ioctlDir(d.mount, what, request, arg)
}

func ioctlDir(dir, what string, request uint, arg uintptr) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer f.Close()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), arg); errno != 0 {
		return fmt.Errorf("%s: %s: %w", what, dir, errno)
	}
	return nil
}

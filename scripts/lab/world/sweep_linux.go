package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	tagPrefix = "usher-lab-"
	program   = "lab" // of a laboratory that still runs
)

func tagOf(pid int) string { return tagPrefix + strconv.Itoa(pid) }

// Sweep removes what laboratories left behind that do not run any more, and says what.
func Sweep(ctx context.Context) ([]string, error) {
	pids := map[int]bool{}
	for _, name := range everyName() {
		rest, ok := strings.CutPrefix(name, tagPrefix)
		if !ok {
			continue
		}
		digits, _, _ := strings.Cut(rest, "-")
		if pid, err := strconv.Atoi(digits); err == nil && !runs(pid) {
			pids[pid] = true
		}
	}
	var all []string
	var errs error
	for pid := range pids {
		left, err := sweep(ctx, pid)
		all, errs = append(all, left...), errors.Join(errs, err)
	}
	slices.Sort(all)
	return all, errs
}

// runs reports whether the process is a laboratory.
func runs(pid int) bool {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return err == nil && strings.TrimSpace(string(name)) == program
}

// everyName lists whatever may carry a tag.
func everyName() []string {
	var out []string
	for _, dir := range []string{os.TempDir(), "/run/netns", cgroupOne, cgroupTwo} {
		entries, _ := os.ReadDir(dir) // what is not there holds nothing of ours
		for _, e := range entries {
			out = append(out, e.Name())
		}
	}
	return out
}

// Leftovers names what carries the tag of a process.
func Leftovers(pid int) []string {
	tag := tagOf(pid)
	var out []string
	for _, dir := range []string{os.TempDir(), "/run/netns", cgroupOne, cgroupTwo} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), tag+"-") {
				out = append(out, filepath.Join(dir, e.Name()))
			}
		}
	}
	for _, l := range links(pid) {
		out = append(out, "link "+l)
	}
	for _, m := range mounts(tag) {
		out = append(out, "mount "+m)
	}
	for _, l := range loops(tag) {
		out = append(out, "loop device "+l)
	}
	return out
}

// links are the bridge of a laboratory and the nodes' cables.
func links(pid int) []string {
	all, _ := filepath.Glob("/sys/class/net/" + bridgeOf(pid) + "n*")
	if there(bridgeOf(pid)) {
		all = append(all, bridgeOf(pid))
	}
	for i := range all {
		all[i] = filepath.Base(all[i])
	}
	return all
}

func there(link string) bool {
	_, err := os.Stat("/sys/class/net/" + link)
	return err == nil
}

// mounts below directories with the tag, the innermost first.
func mounts(tag string) []string {
	text, _ := os.ReadFile("/proc/self/mounts")
	var out []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 2 && strings.HasPrefix(f[1], filepath.Join(os.TempDir(), tag+"-")) {
			out = append(out, f[1])
		}
	}
	slices.Reverse(out)
	return out
}

// ports are the ends of cables at the bridge.
func ports(pid int) []string {
	files, _ := filepath.Glob("/sys/class/net/" + bridgeOf(pid) + "n*")
	var out []string
	for _, f := range files {
		out = append(out, filepath.Base(f))
	}
	return out
}

// loops are loop devices whose files carry the tag.
func loops(tag string) []string {
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	var out []string
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && strings.Contains(string(text), "/"+tag+"-") {
			out = append(out, strings.Split(f, "/")[3])
		}
	}
	return out
}

// sweep removes everything with the tag of one process: processes, then what they stand
// on. It returns what there was.
func sweep(ctx context.Context, pid int) ([]string, error) {
	tag, left := tagOf(pid), Leftovers(pid)
	for _, m := range mounts(tag) {
		_ = ioctlDir(m, "thaw", thawAll, 0) // most are not frozen; one that is lets nothing end
	}
	entries, _ := os.ReadDir("/run/netns")
	var namespaces []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tag+"-") {
			namespaces = append(namespaces, e.Name())
		}
	}
	var errs error
	for _, ns := range namespaces {
		errs = errors.Join(errs, endAll(ctx, ns))
	}
	for _, m := range mounts(tag) {
		errs = errors.Join(errs, run(ctx, "umount", m))
	}
	for _, port := range ports(pid) {
		// A namespace that is deleted lives on for a moment, and its cable with it: the next
		// world could not have one of that name.
		errs = errors.Join(errs, run(ctx, "ip", "link", "delete", port))
	}
	for _, ns := range namespaces {
		errs = errors.Join(errs, run(ctx, "ip", "netns", "delete", ns))
	}
	// A cable goes with its namespace, but the kernel takes its time for that, and longer
	// while a socket of ours is in there.
	for _, l := range links(pid) {
		if err := run(ctx, "ip", "link", "delete", l); err != nil && there(l) {
			errs = errors.Join(errs, err)
		}
	}
	for _, dir := range []string{cgroupOne, cgroupTwo} {
		groups, _ := filepath.Glob(filepath.Join(dir, tag+"-*"))
		for _, g := range groups {
			errs = errors.Join(errs, os.Remove(g))
		}
	}
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), tag+"-*"))
	for _, d := range dirs {
		if len(mounts(tag)) > 0 {
			break // never remove through a mount that stayed
		}
		errs = errors.Join(errs, os.RemoveAll(d))
	}
	return left, errs
}

// endAll kills what runs in a namespace, and waits for its end.
func endAll(ctx context.Context, ns string) error {
	for range 200 {
		text, err := output(ctx, "", "ip", "netns", "pids", ns)
		if err != nil {
			return err
		}
		pids := strings.Fields(text)
		if len(pids) == 0 {
			return nil
		}
		for _, p := range pids {
			if n, err := strconv.Atoi(p); err == nil && n != os.Getpid() {
				_ = syscall.Kill(n, syscall.SIGKILL) // it may have ended
			}
		}
		select {
		case <-time.After(25 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("processes in %s do not end", ns)
}

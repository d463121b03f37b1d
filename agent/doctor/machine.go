package doctor

import "strings"

func disk(f Facts) []Line {
	const check = "disk space"
	d := f.Disk
	switch {
	case d == nil:
		return f.unknown(check)
	case d.Err != nil:
		return one(ok(check, "%s: %s", d.Path, oneLine(d.Err)).as(Failed, "look at the disk and its mount: findmnt -T "+d.Path+", dmesg"))
	}
	percent := uint64(100)
	if d.Total > 0 {
		percent = d.Free / max(d.Total/100, 1)
	}
	l := ok(check, "%s free of %s (%d %%) at %s", bytesText(d.Free), bytesText(d.Total), percent, d.Path)
	return one(judged(l, d.Free < DiskFailed, d.Free < DiskWarning || percent < diskWarningPercent,
		"make room or grow the file system: an agent whose log finds no room ends"))
}

func syncTime(f Facts) []Line {
	const check = "disk latency"
	s := f.Sync
	switch {
	case s == nil:
		return f.unknown(check)
	case s.Err != nil:
		return one(ok(check, "%s: %s", s.Path, oneLine(s.Err)).as(Failed, "look at the disk and its mount: findmnt -T "+s.Path+", dmesg"))
	}
	l := ok(check, "a write of 4 KiB is on disk after %s (median of %d, worst %s)", shown(s.Median), s.Writes, shown(s.Worst))
	return one(judged(l, s.Median > SyncFailed, s.Median > SyncWarning,
		"give the data directory a disk that is faster, or shared with less: every change waits for it"))
}

func files(f Facts) []Line {
	const check = "file descriptors"
	n := f.Files
	switch {
	case n == nil:
		return f.unknown(check)
	case n.Err != nil:
		return one(skipped(check, oneLine(n.Err)))
	}
	const next = "set LimitNOFILE=262144 (systemctl edit usher), or ulimit -n before the start: each user's connection takes one, and one more to the engine"
	if n.Open < 0 {
		return one(judged(ok(check, "limit %d", n.Limit), n.Limit < filesFailed, n.Limit < FilesWarning, next))
	}
	full := uint64(n.Open) > n.Limit/100*filesFullness //nolint:gosec // not negative, see above
	l := ok(check, "%d of %d in use", n.Open, n.Limit)
	return one(judged(l, n.Limit < filesFailed || full, n.Limit < FilesWarning, next))
}

func memory(f Facts) []Line {
	const check = "memory"
	m := f.Memory
	switch {
	case m == nil:
		return f.unknown(check)
	case m.Err != nil:
		return one(skipped(check, oneLine(m.Err)))
	}
	own := ""
	if m.Own > 0 {
		own = "; the agent has " + bytesText(m.Own)
	}
	l := ok(check, "%s free of %s%s", bytesText(m.Free), bytesText(m.Total), own)
	return one(judged(l, m.Free < memoryFailed, m.Free < memoryWarning || m.Free < m.Total/100*memoryWarningPercent,
		"see what takes it: ps aux --sort=-rss | head; drain the node if its engines need more"))
}

// JudgeUnit is the line of the service; u is nil where systemd is not in charge.
// running says that an agent answers.
func JudgeUnit(u *Unit, running bool) Line {
	const check = "service"
	switch {
	case u == nil:
		return skipped(check, "systemd is not in charge here")
	case u.Err != nil:
		return skipped(check, oneLine(u.Err))
	case u.Load != "loaded":
		return skipped(check, "systemd has no unit usher.service")
	}
	l := ok(check, "usher.service is %s and %s", u.Active, orWord(u.File, "not installed"))
	switch {
	case u.Active == "failed":
		l.Seen += " (" + u.Result + ")"
		return l.as(Failed, "journalctl -u usher -n 50 says why; mend it, then systemctl start usher")
	case u.Active != "active" && running:
		return l.as(Warning, "the agent that answers was started by somebody else: stop that, then systemctl start usher")
	case u.Active != "active":
		return l.as(Failed, "systemctl start usher")
	case !strings.HasPrefix(u.File, "enabled"):
		return l.as(Warning, "systemctl enable usher, or the machine comes back without it")
	case u.Restarts >= manyRestarts:
		l.Seen += ", and was started again " + plural(u.Restarts, "time")
		return l.as(Warning, "journalctl -u usher says why it ended")
	}
	return l
}

func orWord(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

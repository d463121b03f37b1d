package doctor

import (
	"fmt"
	"strings"
	"time"
)

// JudgeConfig is the line of a configuration file. It stands alone, because only the
// command knows the file.
func JudgeConfig(c Config) Line {
	const check = "configuration"
	switch {
	case c.Err != nil:
		where := ""
		if c.Path != "" && !strings.Contains(c.Err.Error(), c.Path) {
			where = c.Path + ": "
		}
		return ok(check, "%s%s", where, oneLine(c.Err)).as(Failed, "correct it; usher validate FILE checks a file, usher agent --print-config shows where each value comes from")
	case c.Path == "":
		return ok(check, "no file; what flags, environment and defaults say is valid")
	}
	return ok(check, "%s is valid", c.Path)
}

// JudgeAgent is the line about the agent itself. answered is the address where it
// answered, tried the one where it did not, holder the process that holds the data
// directory (0: none).
func JudgeAgent(answered, tried string, holder int) Line {
	const check = "agent"
	switch {
	case answered != "":
		return ok(check, "answers at %s", answered)
	case holder > 0:
		return ok(check, "process %d holds the data directory, and nobody answers at %s", holder, tried).as(Failed,
			fmt.Sprintf("it starts, stops or hangs: look with systemctl status usher and ps -o stat,wchan %d, and restart it if it does not come to itself", holder))
	}
	return ok(check, "nobody answers at %s", tried).as(Failed, "start it: systemctl start usher; then journalctl -u usher says why it ends, if it does")
}

func directory(f Facts) []Line {
	const check = "data directory"
	d := f.Dir
	switch {
	case d == nil:
		return f.unknown(check)
	case d.Err != nil:
		return one(ok(check, "%s: %s", d.Path, oneLine(d.Err)).as(Failed, "make it readable to the agent's user, or name the right one with --data-dir"))
	case d.Unfinished:
		return one(ok(check, "%s: a recovery was cut short right before its end", d.Path).as(Failed, "run usher recover again: it goes on where it was cut"))
	case len(d.Loose) > 0:
		first := d.Loose[0]
		mode := "600"
		if first.Mode.IsDir() {
			mode = "700"
		}
		return one(ok(check, "%s has mode %04o%s: others on this machine may use what is secret in it", first.Path, first.Mode.Perm(), more(len(d.Loose)-1)).as(
			Failed, "run: chmod "+mode+" "+first.Path+"; and think about who may have read the keys"))
	case len(d.Foreign) > 0:
		return one(ok(check, "%s does not belong to %s, the directory's owner%s", d.Foreign[0], d.Owner, more(len(d.Foreign)-1)).as(
			Warning, "run: chown -R "+d.Owner+": "+d.Path))
	}
	owner := ""
	if d.Owner != "" {
		owner = " of " + d.Owner
	}
	return one(ok(check, "%s%s, mode %04o", d.Path, owner, d.Mode.Perm()))
}

func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" (and %d more)", n)
}

const (
	joinAnew  = "leave and join again before then, one node at a time: docs/operations.md, Certificates and tokens"
	joinAgain = "join again: usher join-token create --replace NODE on another server, here usher leave --purge and usher join; docs/operations.md, Certificates and tokens"
)

func certificates(f Facts) []Line {
	i := f.Identity
	switch {
	case i == nil:
		return append(f.unknown("identity"), f.unknown("certificate authority")...)
	case i.Err != nil:
		return []Line{
			ok("identity", "%s", oneLine(i.Err)).as(Failed, "put the file back from a copy of this directory, or "+joinAgain),
			skipped("certificate authority", "without an identity there is none"),
		}
	}
	left, ca := i.Ends.Sub(f.Now), i.CAEnds.Sub(f.Now)
	own := judged(ok("identity", "node %s, certificate ends in %s (%s)", i.ID.Short(), days(left), day(i.Ends)), false, left < CertificateWarning, joinAnew)
	if left <= 0 {
		own = ok("identity", "the certificate of node %s ended on %s: no other node lets this one in", i.ID.Short(), day(i.Ends)).as(Failed,
			"is this machine's clock right? then "+joinAgain)
	}
	authority := judged(ok("certificate authority", "ends in %s (%s)", days(ca), day(i.CAEnds)), false, ca < CertificateWarning, "plan a new cluster, or ask for help: a CA is not renewed in place")
	if ca <= 0 {
		authority = ok("certificate authority", "ended on %s: no node lets another one in", day(i.CAEnds)).as(Failed,
			"is this machine's clock right? then the cluster must be made anew: save settings and tasks first")
	}
	return []Line{own, authority}
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func ports(f Facts) []Line {
	if f.Ports == nil {
		return append(f.unknown("cluster port"), f.unknown("door")...)
	}
	var out []Line
	for _, p := range f.Ports {
		switch {
		case f.Offline != "" && p.Err == nil:
			out = append(out, ok(p.Name, "somebody listens at %s, and it is no agent of this directory", p.Addr).as(Failed,
				"see who has it: ss -ltnp; stop that, or choose another port with "+p.Flag))
		case f.Offline != "":
			out = append(out, skipped(p.Name, p.Addr+" is free; "+f.Offline))
		case p.Err != nil:
			out = append(out, ok(p.Name, "%s does not answer: %s", p.Addr, oneLine(p.Err)).as(Failed, "look into the log (journalctl -u usher), and restart the agent"))
		default:
			out = append(out, ok(p.Name, "listens at %s", p.Addr))
		}
	}
	return out
}

func address(f Facts) []Line {
	const check = "advertised address"
	a := f.Address
	switch {
	case a == nil:
		return f.unknown(check)
	case a.Err != nil:
		return one(ok(check, "%s", oneLine(a.Err)).as(Failed, "name it with --advertise, or advertise in the section cluster of the file"))
	case a.Here:
		return one(ok(check, "%s is this machine's", a.Addr))
	}
	return one(ok(check, "%s is on none of this machine's interfaces", a.Addr).as(Warning,
		"right behind a NAT that leads here; else correct advertise in the file and restart the agent"))
}

func names(f Facts) []Line {
	const check = "names"
	if f.Names == nil {
		return f.unknown(check)
	}
	var good, bad []string
	for _, n := range f.Names {
		if n.Err != nil {
			bad = append(bad, fmt.Sprintf("%s (%s): %s", n.Host, n.Key, oneLine(n.Err)))
			continue
		}
		good = append(good, n.Host)
	}
	switch {
	case len(bad) > 0:
		return one(ok(check, "cannot be resolved: %s", strings.Join(bad, "; ")).as(Failed, "look at the machine's resolver (getent hosts NAME), or write addresses into the configuration"))
	case len(good) == 0:
		return one(ok(check, "the configuration names no hosts, only addresses"))
	}
	return one(ok(check, "resolved: %s", strings.Join(good, ", ")))
}

package doctor

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// reach is two lines for each other node: there and back.
func reach(f Facts) []Line {
	if f.Peers == nil {
		return f.unknown("other nodes")
	}
	if len(f.Peers) == 0 {
		return one(ok("other nodes", "there are none: the cluster is this node alone").as(Warning, "two more servers let the cluster survive the loss of one, if only with --engine none"))
	}
	var out []Line
	for _, p := range f.Peers {
		there, back := "reach "+p.Name, "reached by "+p.Name
		tried := strings.Join(p.Addrs, ", ")
		if p.Err != nil {
			out = append(out, ok(there, "no connection to %s: %s", tried, oneLine(p.Err)).as(Failed,
				"is "+p.Name+" running? does a firewall let its cluster port pass from here?"+tryPort(p.Addrs)))
		} else {
			out = append(out, ok(there, "answers at %s", tried))
		}
		out = append(out, p.back(f, back))
	}
	return out
}

// tryPort is how a person knocks by hand.
func tryPort(addrs []string) string {
	if len(addrs) == 0 {
		return ""
	}
	host, port, err := net.SplitHostPort(addrs[0])
	if err != nil {
		return ""
	}
	return " try: nc -vz " + host + " " + port
}

func (p Peer) back(f Facts, check string) Line {
	switch {
	case f.Offline != "":
		return skipped(check, f.Offline)
	case !p.Asked:
		return skipped(check, p.Name+" cannot be asked")
	case p.AskErr != nil:
		return skipped(check, p.Name+" gave no answer: "+oneLine(p.AskErr))
	case p.BackErr != nil:
		return ok(check, "%s gets no connection to this node: %s", p.Name, oneLine(p.BackErr)).as(Failed,
			"does the firewall of this machine let the cluster port in from "+p.Name+"? is the advertised address right?")
	}
	return ok(check, "%s has a connection to this node", p.Name)
}

// clock is one line about this machine's clock, from what the others show.
func clock(f Facts) []Line {
	const check = "clock"
	var seen []Peer
	for _, p := range f.Peers {
		if p.Timed {
			seen = append(seen, p)
		}
	}
	if len(seen) == 0 {
		why := "no other node showed its clock"
		if f.Offline != "" {
			why = f.Offline
		}
		return one(skipped(check, why))
	}
	worst := slices.MaxFunc(seen, func(a, b Peer) int { return cmp.Compare(a.surely(), b.surely()) })
	off := worst.surely()
	l := ok(check, "compared with %s: at most %s apart (%s), give or take %s", plural(len(seen), "node"), shown(worst.Offset.Abs()), worst.Name, shown(worst.Within))
	if off <= ClockWarning {
		return one(l)
	}
	l.Seen = fmt.Sprintf("the clock of %s is %s %s ours, give or take %s", worst.Name, shown(worst.Offset.Abs()), direction(worst.Offset), shown(worst.Within))
	if len(seen) > 1 && slices.MinFunc(seen, func(a, b Peer) int { return cmp.Compare(a.surely(), b.surely()) }).surely() > ClockWarning {
		l.Seen = "this machine's clock differs from every other node's: " + l.Seen
	}
	switch {
	case off > clockUnfit:
		l.Seen += "; a node that is so far off cannot be central"
	case off > ClockFailed:
		l.Seen += "; the cluster does not take its time from such a clock any more"
	}
	return one(judged(l, off > ClockFailed, true, "see chronyc tracking or timedatectl timesync-status on both machines, and set the wrong clock"))
}

// surely is how far the clocks are apart at least.
func (p Peer) surely() time.Duration { return max(p.Offset.Abs()-p.Within, 0) }

func direction(d time.Duration) string {
	if d < 0 {
		return "behind"
	}
	return "ahead of"
}

func quorum(f Facts) []Line {
	const check = "quorum"
	r := f.Raft
	if r == nil {
		return f.unknown(check)
	}
	reached := len(r.Voters) - len(r.Away)
	servers := fmt.Sprintf("%d of %d voters reached", reached, len(r.Voters))
	switch {
	case !r.Quorum, reached <= len(r.Voters)/2: // the second knows it a moment before Raft does
		return one(ok(check, "there is none: %s%s", servers, missing(r.Away)).as(Failed,
			"start the servers that are away; if most of them are lost for good, disks and all: usher recover on one that is left"))
	case r.Central == "":
		return one(ok(check, "%s, and no central node", servers).as(Failed, "wait for an election; if none comes, look at clock, ports and disks of the voters"))
	case r.LastContact < 0 || r.LastContact > contactWarning:
		last := "was never heard"
		if r.LastContact >= 0 {
			last = "was last heard " + shown(r.LastContact) + " ago"
		}
		return one(ok(check, "%s, %s is central, and %s", servers, r.Central, last).as(Warning, "look at the lines about "+r.Central))
	case len(r.Away) > 0:
		return one(ok(check, "%s%s; %s is central", servers, missing(r.Away), r.Central).as(Warning,
			"start them again; if a machine is lost for good: usher node remove NODE, and let another one join"))
	case len(r.Voters) == 2:
		return one(ok(check, "%s; %s is central; two servers survive no failure", servers, r.Central).as(Warning, "add a third, if only with --engine none"))
	}
	role := r.State
	if !r.Voter {
		role += " without a vote"
	}
	return one(ok(check, "%s; %s is central; this node is %s", servers, r.Central, role))
}

func missing(away []string) string {
	if len(away) == 0 {
		return ""
	}
	return ", away: " + strings.Join(away, ", ")
}

func versions(f Facts) []Line {
	const check = "versions"
	if f.Versions == nil {
		return f.unknown(check)
	}
	by := map[string][]string{}
	for _, v := range f.Versions {
		key := fmt.Sprintf("%s (feature level %d)", v.Version, v.Feature)
		if v.Version == "" {
			key = "an unknown version"
		}
		by[key] = append(by[key], v.Node)
	}
	var parts []string
	for key, nodes := range by {
		slices.Sort(nodes)
		parts = append(parts, key+" on "+strings.Join(nodes, ", "))
	}
	slices.Sort(parts)
	l := ok(check, "%s", strings.Join(parts, "; "))
	return one(judged(l, false, len(by) > 1, "right during an upgrade; else upgrade the nodes that lag: new commands wait until every server knows them"))
}

// engines is a line for each engine.
func engines(f Facts) []Line {
	const check = "engines"
	switch {
	case f.Engines == nil:
		return f.unknown(check)
	case len(f.Engines) == 0:
		return one(ok(check, "none beside this node"))
	}
	var out []Line
	for _, e := range f.Engines {
		l := ok("engine "+e.Name, "%s at %s", orWord(string(e.Health), "not probed yet"), e.URL)
		if !e.Since.IsZero() && f.Now.After(e.Since) {
			l.Seen += " for " + shown(f.Now.Sub(e.Since).Truncate(time.Second))
		}
		if e.Err != "" {
			l.Seen += ": " + strings.Join(strings.Fields(e.Err), " ")
		}
		bad := e.Health == peer.Dead || e.Health == peer.Unhealthy
		out = append(out, judged(l, bad, e.Health != peer.Healthy, "is the application server running? ask it as the agent does: curl -v "+e.URL))
	}
	return out
}

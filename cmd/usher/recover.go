package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os/user"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/identity"
)

func (p *program) recoverCommand() *cli.Command {
	return &cli.Command{
		Name: "recover", Usage: "make a cluster of one of this server, when the majority is lost for ever",
		Description: `For the night when most servers' disks are gone and the cluster cannot agree on anything any more. Run it on one survivor, the one whose state is newest, with its agent stopped. It shows what this server knows and who else answers, keeps the state as it was found, and makes this server a cluster of one. All other nodes are removed for good: those that still exist have to be cleared with usher leave --purge and to join anew.

What was acknowledged is on the disks of a majority. If it did not come to this server, it is lost. It refuses while a majority answers without this node (then take lost nodes out with usher node remove instead), while another survivor that answers has a longer log, and where another one was recovered already. Stop the other survivors, or keep them from starting, until this one runs: two of them would go on as the old cluster.`,
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "ignore", Usage: "`NODE` that does not count as answering, because something else has its address or its disk cannot be trusted; may be repeated"},
			yes(),
		}, configFlags("data-dir")...),
		Action: p.recoverRun,
	}
}

// recoverAnswer is what recover prints as JSON.
type recoverAnswer struct {
	Cluster   string        `json:"cluster"`
	Node      string        `json:"node"`
	Revision  uint64        `json:"revision"` // before; it goes on further up
	AsOf      time.Time     `json:"as_of"`
	LastIndex uint64        `json:"last_index"`
	LastTerm  uint64        `json:"last_term"`
	Voters    int           `json:"voters"`
	Others    []otherServer `json:"others"`
	Backup    string        `json:"backup,omitempty"`
	Done      bool          `json:"done"`
}

type otherServer struct {
	Name     string `json:"name"`
	ID       string `json:"id"`
	Address  string `json:"address"`
	Voter    bool   `json:"voter"`
	Answers  bool   `json:"answers"`
	Revision uint64 `json:"revision,omitempty"`
	// Where its log ends.
	LastIndex uint64 `json:"last_index,omitempty"`
	LastTerm  uint64 `json:"last_term,omitempty"`
	Error     string `json:"error,omitempty"`
}

func (p *program) recoverRun(c *cli.Context) error {
	if err := exactly(0).check(c); err != nil {
		return err
	}
	cfg, _, err := p.configure(c)
	if err != nil {
		return err
	}
	ctx, cancel := p.untilSignal(c.Context)
	defer cancel()
	fmt.Fprintln(p.stderr, "reading this server's log, and asking the others ...")
	r, err := p.machine.Recover(ctx, cfg, agent.RecoverOptions{
		Now: p.now, By: p.user(), Ignore: c.StringSlice("ignore"),
		Confirm: func(r agent.Recovery) error {
			before := &printer{}
			before.recovery(p, r)
			fmt.Fprint(p.stderr, before.b.String())
			return p.confirm(c, "make %s a cluster of one and remove %s for good", r.Node, count(len(r.Others), "other server"))
		},
	})
	if err != nil {
		return p.recoverFailure(cfg.DataDir, r, err)
	}
	if r.Finished {
		return p.emit(c, recoverAnswer{Done: true}, func(o *printer) {
			o.line("a recovery that had been cut short is finished\nnext: start the agent, then make a join token: usher join-token create")
		})
	}
	return p.emit(c, answerOf(r), func(o *printer) {
		o.line("%s is a cluster of one", r.Node)
		o.facts("state as it was found", r.Backup)
		o.line("\nnext: start the agent with usher agent; on every machine that shall come back: usher leave --purge, and join with a token of usher join-token create")
	})
}

func answerOf(r agent.Recovery) recoverAnswer {
	a := recoverAnswer{
		Cluster: r.Cluster, Node: r.Node, Revision: r.Revision, AsOf: r.AsOf, LastIndex: r.LastIndex, LastTerm: r.LastTerm,
		Voters: r.Voters, Others: []otherServer{}, Backup: r.Backup, Done: true,
	}
	for _, o := range r.Others {
		a.Others = append(a.Others, otherServer{
			Name: o.Name, ID: string(o.ID), Address: o.Addr, Voter: o.Voter, Answers: o.Answers,
			Revision: o.Revision, LastIndex: o.LastIndex, LastTerm: o.LastTerm, Error: o.Error,
		})
	}
	return a
}

// recovery is what somebody has to know before.
func (o *printer) recovery(p *program, r agent.Recovery) {
	o.facts(
		"cluster", r.Cluster,
		"this server", r.Node,
		"its log ends at", fmt.Sprintf("index %d, term %d", r.LastIndex, r.LastTerm),
		"its state is", fmt.Sprintf("revision %d of %s (%s)", r.Revision, r.AsOf.UTC().Format(time.RFC3339), p.when(r.AsOf)),
		"state as found goes to", r.Backup,
	)
	var rows [][]string
	for _, s := range r.Others {
		role, seen := "", s.Error
		if s.Voter {
			role = "voter"
		}
		if s.Revision > 0 {
			seen = fmt.Sprintf("revision %d, log ends at index %d, term %d", s.Revision, s.LastIndex, s.LastTerm)
		}
		rows = append(rows, []string{s.Name, s.Addr, role, yesNo(s.Answers), seen})
	}
	o.line("")
	o.table([]string{"OTHER SERVER", "ADDRESS", "ROLE", "ANSWERS", "SEEN"}, rows)
	o.line("\nWhat was acknowledged after revision %d, and came only to servers that are lost, is lost.", r.Revision)
	if r.Voters == 1 {
		o.line("This server is the only voter already: started as it is it leads alone, and there may be nothing to recover.")
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (p *program) recoverFailure(dir string, r agent.Recovery, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist) && r.Node == "", errors.Is(err, identity.ErrNoIdentity):
		return permanent("name the agent's own directory with --data-dir, or its configuration with --config", "%s: %w", dir, err)
	case isHeld(err):
		return failed("stop the agent on this machine first", "%w", err)
	case errors.Is(err, agent.ErrQuorumAnswers):
		who := &printer{}
		who.recovery(p, r)
		fmt.Fprint(p.stderr, who.b.String())
		return permanent("the cluster is not lost: start this agent, and take lost nodes out with usher node remove NODE; if something else has a lost server's address, name that with --ignore", "%w", err)
	case errors.Is(err, agent.ErrNewerSurvivor):
		return permanent("recover on that server, with its agent stopped; if its disk cannot be trusted, name it with --ignore", "%w", err)
	case errors.Is(err, agent.ErrDisowned):
		return permanent("usher leave --purge clears the data directory, so that this machine can join there; if that other cluster is the wrong one, name it with --ignore", "%w", err)
	case isDamaged(err):
		return permanent("recover on another survivor, or restore a snapshot: usher snapshot restore FILE", "%w", err)
	}
	return err
}

// user is who runs the command, for the audit.
func (p *program) user() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

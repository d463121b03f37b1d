package plan

import "time"

// Kinds are all faults, in the order of the list that people see.
func Kinds() []Kind {
	return []Kind{
		{Name: "kill", About: "SIGKILL, and a start after the time", Roles: []Role{Leader, Follower}, Min: 50 * ms, Max: 10 * sec},
		{Name: "pause", About: "SIGSTOP, and SIGCONT after the time", Roles: []Role{Leader, Follower}, Min: 100 * ms, Max: time.Minute},
		{Name: "isolate", About: "the other nodes are not reached; clients are", Roles: []Role{Leader, Follower}, Min: 200 * ms, Max: 20 * sec},
		{Name: "one-way", About: "packets from the others arrive, to them not; or the other way round", Roles: []Role{Leader, Follower}, Min: 500 * ms, Max: 20 * sec},
		{Name: "bridge", About: "two nodes do not reach each other; all others reach both", Roles: []Role{Leader, Follower}, Min: 500 * ms, Max: 20 * sec},
		{Name: "black-hole", About: "the cable is out, for clients too", Roles: []Role{Leader, Follower}, Min: 500 * ms, Max: 20 * sec},
		{Name: "loss", About: "of the packets to and from the others a fifth is lost", Roles: []Role{Leader, Follower}, Min: 2 * sec, Max: 20 * sec},
		{Name: "resets", About: "connections to the others are reset now and then", Roles: []Role{Leader, Follower}, Min: 2 * sec, Max: 20 * sec},
		{Name: "flapping", About: "cut off and not, in turn, several times a second", Roles: []Role{Leader, Follower}, Min: 2 * sec, Max: 20 * sec},
		{Name: "delay", About: "what goes to and comes from the others takes 20 to 200 ms longer, through a relay", Roles: []Role{Leader, Follower}, Min: 2 * sec, Max: 20 * sec},
		{Name: "slow-disk", About: "each sync waits for 30 to 300 ms", Roles: []Role{Leader, Follower}, Min: 2 * sec, Max: 20 * sec},
		{Name: "hanging-disk", About: "the disk stands still", Roles: []Role{Leader, Follower}, Min: 2 * sec, Max: 20 * sec, Disks: true},
		{Name: "failing-fsync", About: "fsync fails; the agent ends and is started again", Roles: []Role{Leader, Follower}, Min: 2 * sec, Max: 10 * sec},
		{Name: "full-disk", About: "there is no room; the agent ends until there is", Roles: []Role{Leader, Follower}, Min: 2 * sec, Max: 10 * sec, Disks: true},
		{Name: "power-cut", About: "what was not synced is lost", Roles: []Role{Leader, Follower}, Min: 50 * ms, Max: 5 * sec, Disks: true},
		{Name: "power-cut-all", About: "the same, all at once", Roles: []Role{All}, Min: 50 * ms, Max: 3 * sec, Alone: true, Disks: true},
		{Name: "kill-all", About: "SIGKILL to all at once", Roles: []Role{All}, Min: 50 * ms, Max: 3 * sec, Alone: true},
		{Name: "quota", About: "a twentieth to a fifth of one core", Roles: []Role{Leader, Follower}, Min: 2 * sec, Max: 20 * sec},
		{Name: "clock", About: "the wall clock is set forward or back, by seconds to hours", Roles: []Role{Leader, Follower}, Min: 2 * sec, Max: 20 * sec},
		{Name: "membership", About: "a node leaves or is removed, and a fresh one joins in its place", Roles: []Role{Leader, Follower}, Alone: true, Long: true},
		{Name: "drain", About: "a node is drained, and activated again", Roles: []Role{Leader, Follower}, Min: sec, Max: 10 * sec},
		{Name: "rolling-restart", About: "each is stopped in order and started, one after the other", Roles: []Role{All}, Alone: true, Long: true},
		{Name: "snapshot-transfer", About: "a follower is away until the others have dropped what it lacks from the log", Roles: []Role{Follower}, Alone: true, Long: true},
		{Name: "rolled-back", About: "an earlier copy of the data directory is put in place", Roles: []Role{Leader, Follower}, Alone: true, Long: true},
		{Name: "crash-loop", About: "whoever leads is killed, again and again", Roles: []Role{All}, Min: 2 * sec, Max: 20 * sec, Alone: true},
	}
}

const (
	ms  = time.Millisecond
	sec = time.Second
)

// KindOf finds a kind by name.
func KindOf(name string) (Kind, bool) {
	for _, k := range Kinds() {
		if k.Name == name {
			return k, true
		}
	}
	return Kind{}, false
}

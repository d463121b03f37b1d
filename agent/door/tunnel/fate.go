package tunnel

import "time"

const (
	closeGoingAway = 1001
	closeWait      = 30 * time.Second // from the first close frame to the connections' end
	idleGrace      = 5 * time.Second  // for the answers to our close of an idle tunnel
	linger         = 2 * time.Second  // for what is on its way after one end has closed
)

// vitals is what the lanes of a tunnel have noticed.
type vitals struct {
	heard        time.Time // last bytes from the client
	user         time.Time // last bytes of a user frame, either way
	unanswered   time.Time // first ping that nothing was heard after; zero: none
	clientClosed bool      // the client has sent a close frame
	serverClosed bool      // the server has
}

// verdict is what shall be done with a tunnel now.
type verdict uint8

const (
	wait       verdict = iota // until the time given, or until something happens
	pingClient                // and judge again
	closeIdle                 // send close frames, and judge again
	isOver                    // the tunnel has ended; fate.err says why
)

// fate decides, without doing anything, what becomes of a tunnel.
type fate struct {
	ping, silence, idle time.Duration

	pinged   time.Time // when the last ping was asked for
	closing  bool      // we have asked both ends to close
	finishBy time.Time // when it is cut, whatever happens; zero: not yet known
	late     error     // why it was cut then
	err      error     // valid after isOver
}

func newFate(cfg *Config) fate {
	return fate{ping: cfg.Ping, silence: orElse(cfg.PongTimeout, time.Minute), idle: cfg.IdleTimeout}
}

// close notes that both ends are asked to close: err is the tunnel's error if they
// do in time, late if they do not.
func (f *fate) close(c closing, err, late error, now time.Time) {
	if f.closing {
		f.finish(now.Add(c.grace))
		return
	}
	f.closing, f.err, f.late = true, err, late
	f.finishBy = now.Add(c.grace)
}

// laneEnded notes that one end has closed its connection.
func (f *fate) laneEnded(now time.Time) { f.finish(now.Add(linger)) }

// finish moves the end forward, never back.
func (f *fate) finish(by time.Time) {
	if f.finishBy.IsZero() || by.Before(f.finishBy) {
		f.finishBy = by
	}
}

// judge returns what to do, and for wait until when; zero is for ever.
func (f *fate) judge(v vitals, now time.Time) (verdict, time.Time) {
	natural := v.clientClosed || v.serverClosed
	if f.closing && v.clientClosed && v.serverClosed {
		return isOver, now
	}
	if natural && f.finishBy.IsZero() {
		f.finish(now.Add(closeWait))
	}
	if !f.finishBy.IsZero() {
		if !now.Before(f.finishBy) {
			if f.closing {
				f.err = f.late
			}
			return isOver, now
		}
		return wait, f.finishBy // nothing more is sent to ends that are closing
	}
	return f.judgeOpen(v, now)
}

// judgeOpen judges a tunnel that nobody has begun to close.
func (f *fate) judgeOpen(v vitals, now time.Time) (verdict, time.Time) {
	var next time.Time
	due := func(at time.Time) bool {
		if !now.Before(at) {
			return true
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
		return false
	}
	if !v.unanswered.IsZero() && due(v.unanswered.Add(f.silence)) {
		f.err = ErrSilent
		return isOver, now
	}
	if f.idle > 0 && due(v.user.Add(f.idle)) {
		f.close(closing{closeGoingAway, idleGrace}, ErrIdle, ErrIdle, now)
		return closeIdle, now
	}
	if f.ping > 0 {
		last := v.heard
		if f.pinged.After(last) {
			last = f.pinged
		}
		if due(last.Add(f.ping)) {
			f.pinged = now
			return pingClient, now
		}
	}
	return wait, next
}

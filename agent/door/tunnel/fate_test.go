package tunnel

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func (v verdict) String() string {
	return [...]string{"wait", "ping", "close idle", "over"}[v]
}

func TestFate(t *testing.T) {
	t0 := time.Unix(1000, 0)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	fresh := vitals{heard: t0, user: t0}
	for _, tc := range []struct {
		name string
		f    fate
		v    vitals
		now  int
		want string
	}{
		{"nothing to do", fate{}, fresh, 9999, "wait ever <nil>"},
		{"ping later", fate{ping: 30 * time.Second}, fresh, 10, "wait 30 <nil>"},
		{"ping", fate{ping: 30 * time.Second}, fresh, 30, "ping 30 <nil>"},
		{"not again at once", fate{ping: 30 * time.Second, pinged: at(30)}, fresh, 40, "wait 60 <nil>"},
		{"heard since", fate{ping: 30 * time.Second, pinged: at(30)}, vitals{heard: at(35), user: t0}, 40, "wait 65 <nil>"},
		{"unanswered", fate{silence: time.Minute}, vitals{heard: t0, user: t0, unanswered: at(30)}, 89, "wait 90 <nil>"},
		{"silent", fate{silence: time.Minute}, vitals{heard: t0, user: t0, unanswered: at(30)}, 90, "over 90 " + ErrSilent.Error()},
		{"idle later", fate{idle: time.Minute, ping: 30 * time.Second, pinged: at(59)}, fresh, 59, "wait 60 <nil>"},
		{"idle", fate{idle: time.Minute, ping: 30 * time.Second}, fresh, 60, "close idle 60 " + ErrIdle.Error()},
		{"pings are no use", fate{idle: time.Minute}, vitals{heard: at(59), user: t0}, 60, "close idle 60 " + ErrIdle.Error()},
		{"one has closed", fate{ping: time.Second, idle: time.Second}, vitals{heard: t0, user: t0, serverClosed: true}, 2, "wait 32 <nil>"},
		{"the other takes too long", fate{finishBy: at(32)}, vitals{heard: t0, user: t0, serverClosed: true}, 32, "over 32 <nil>"},
		{"both closed by themselves", fate{finishBy: at(32)}, vitals{serverClosed: true, clientClosed: true}, 3, "wait 32 <nil>"},
		{"both answered us", fate{closing: true, finishBy: at(9), late: ErrGrace}, vitals{serverClosed: true, clientClosed: true}, 3, "over 3 <nil>"},
		{"one answered us", fate{closing: true, finishBy: at(9), late: ErrGrace}, vitals{clientClosed: true}, 3, "wait 9 <nil>"},
		{"grace is over", fate{closing: true, finishBy: at(9), late: ErrGrace}, vitals{clientClosed: true}, 9, "over 9 " + ErrGrace.Error()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, next := tc.f.judge(tc.v, at(tc.now))
			when := "ever"
			if !next.IsZero() {
				when = fmt.Sprint(int(next.Sub(t0).Seconds()))
			}
			if d := cmp.Diff(tc.want, fmt.Sprintf("%v %s %v", v, when, tc.f.err)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestFateEndsOnlyEarlier(t *testing.T) {
	now := time.Unix(1000, 0)
	f := fate{}
	f.close(closing{1001, time.Minute}, nil, ErrGrace, now)
	f.close(closing{1001, time.Hour}, nil, nil, now)
	if f.finishBy != now.Add(time.Minute) {
		t.Errorf("a second shutdown moved the end to %v", f.finishBy)
	}
	f.laneEnded(now)
	if f.finishBy != now.Add(linger) {
		t.Errorf("an end of one side left it at %v", f.finishBy)
	}
}

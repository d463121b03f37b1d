package door

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
)

func TestDecide(t *testing.T) {
	const after = 5 * time.Second
	cases := []struct {
		name string
		a    attempt
		want action
		code string // of the page, when it is given up
	}{
		{"dead, has time to come back", attempt{failure: failure{refused: refusedDead, deadFor: time.Second}}, giveUp, "engine_dead"},
		{"dead for too long", attempt{failure: failure{refused: refusedDead, deadFor: after}}, elsewhere, ""},
		{"dead, nobody's work is there", attempt{failure: failure{refused: refusedDead}, opening: true}, elsewhere, ""},
		{"owner gone", attempt{failure: failure{refused: refusedGone}}, elsewhere, ""},
		{"engine was taken away", attempt{failure: failure{refused: refusedNotHere}}, elsewhere, ""},
		{"owner out of reach", attempt{failure: failure{refused: refusedCut}}, giveUp, "owner_unreachable"},
		{"owner out of reach, opening", attempt{failure: failure{refused: refusedCut}, opening: true}, elsewhere, ""},
		{"busy", attempt{failure: failure{refused: refusedBusy}}, giveUp, "engine_unreachable"},
		{"busy, opening", attempt{failure: failure{refused: refusedBusy}, opening: true}, elsewhere, ""},
		{"full", attempt{failure: failure{refused: refusedFull}, opening: true}, elsewhere, ""},
		{"draining, of a client's key", attempt{failure: failure{refused: refusedDraining}}, elsewhere, ""},
		{"session over", attempt{failure: failure{refused: refusedEnded}}, anew, ""},
		{"no seat", attempt{failure: failure{refused: refusedSeat}, opening: true}, giveUp, "no_seat"},
		{"connection lost", attempt{failure: failure{refused: refusedLost, sent: true}}, again, ""},
		{"connection lost twice", attempt{failure: failure{refused: refusedLost, sent: true}, repeated: true}, giveUp, "connection_lost"},
		{"timeout", attempt{failure: failure{final: problemTimeout, sent: true}}, giveUp, "engine_timeout"},
		{"word of a later version", attempt{failure: failure{refused: "resting"}}, giveUp, "internal"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.a.failAfter, c.a.replayable = after, true
			got, page := decide(c.a)
			if got != c.want || got == giveUp && page.Code != c.code {
				t.Errorf("%v with %+v, want %v %s", got, page, c.want, c.code)
			}
			c.a.replayable = false
			if got, page = decide(c.a); got != giveUp || page == nil {
				t.Errorf("a request that cannot be sent again: %v with %v", got, page)
			}
		})
	}
	if p := problemDead(200 * time.Millisecond); p.retry != time.Second {
		t.Errorf("retry after %s", p.retry)
	}
}

func TestClaimTravels(t *testing.T) {
	want := claim{
		session: SessionID{1, 2, 3}, engine: "app", open: openMove, age: 1234 * time.Second,
		document: "a/b ü\r\nX: y", client: netip.MustParseAddr("2001:db8::1"), door: "n1", movedFrom: "n2", decided: 1_800_000_000_000_000_001,
	}
	h := http.Header{}
	want.write(h)
	for name, values := range h {
		if strings.ContainsAny(values[0], "\r\n") {
			t.Errorf("%s: %q", name, values[0])
		}
	}
	got, err := readClaim(h)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(claim{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("claim (-want +got):\n%s", diff)
	}
	for name, value := range map[string]string{
		fieldSession: "12", fieldEngine: "../x", fieldOpen: "please", fieldAge: "soon", fieldDocument: "%zz", fieldClient: "nobody", fieldDecided: "just now",
	} {
		bad := h.Clone()
		bad.Set(name, value)
		if _, err := readClaim(bad); err == nil {
			t.Errorf("%s: %s was taken", name, value)
		}
	}
}

func FuzzClaim(f *testing.F) {
	f.Add("00112233445566778899aabbccddeeff", "app", "new", "1800", "a%2Fb", "10.0.0.1")
	f.Fuzz(func(t *testing.T, session, engine, open, age, document, client string) {
		h := http.Header{fieldSession: {session}, fieldEngine: {engine}, fieldOpen: {open}, fieldAge: {age}, fieldDocument: {document}, fieldClient: {client}}
		c, err := readClaim(h)
		if err != nil {
			return
		}
		again := http.Header{}
		c.write(again)
		d, err := readClaim(again)
		if err != nil || d != c {
			t.Errorf("%+v was written as %v and read as %+v, %v", c, again, d, err)
		}
	})
}

func TestRendezvous(t *testing.T) {
	var cs []placement.Candidate
	for i := range 5 {
		cs = append(cs, placement.Candidate{Engine: peer.EngineID(string(rune('a'+i)) + "/x"), Weight: 100})
	}
	cs[0].Weight = 300
	const keys = 7000
	first, moved := map[peer.EngineID]int{}, 0
	for i := range keys {
		id := SessionID{byte(i), byte(i >> 8), 77}
		all := append([]placement.Candidate(nil), cs...)
		rendezvous(id, all)
		first[all[0].Engine]++
		fewer := append([]placement.Candidate(nil), cs[:4]...)
		rendezvous(id, fewer)
		if fewer[0].Engine != all[0].Engine {
			moved++
			if all[0].Engine != cs[4].Engine {
				t.Fatal("a key moved whose engine stayed")
			}
		}
	}
	if moved != first["e/x"] {
		t.Errorf("%d keys moved, %d had to", moved, first["e/x"])
	}
	for e, n := range first {
		want := keys / 7
		if e == "a/x" {
			want *= 3
		}
		if n < want*9/10 || n > want*11/10 {
			t.Errorf("%s has %d keys, want about %d", e, n, want)
		}
	}
}

// Between two engines a session may go back and forth; nobody follows in circles.
func TestMovesForthAndBack(t *testing.T) {
	ms, now := newMoves(), time.Unix(1_800_000_000, 0)
	a := binding{session: SessionID{1}, engine: "a/x"}
	b := binding{session: SessionID{1}, engine: "b/x", moves: 1, open: openMove}
	back := binding{session: SessionID{1}, engine: "a/x", moves: 2, open: openMove}
	alive := func(peer.ID) bool { return false }
	to := func(x binding) func() (binding, *problem) {
		return func() (binding, *problem) { return x, nil }
	}
	ms.do(a, now, false, to(b))
	if got := ms.follow(a, alive); got != b {
		t.Errorf("a went to %+v", got)
	}
	ms.do(b, now, false, to(back))
	for _, old := range []binding{a, b} {
		if got := ms.follow(old, alive); got != back {
			t.Errorf("%+v went to %+v", old, got)
		}
	}
	if got := ms.follow(back, alive); got != back {
		t.Errorf("where it is now, it is sent on to %+v", got)
	}
	if _, pr := ms.do(back, now, false, func() (binding, *problem) { return a, problemNoEngine }); pr != problemNoEngine {
		t.Errorf("problem %v", pr)
	}
	if got := ms.follow(back, alive); got != back {
		t.Error("a failure is remembered")
	}
	ms.sweep(now.Add(moveMemory + 1))
	if len(ms.m)+len(ms.ends) != 0 {
		t.Error("moves are kept for ever")
	}
}

func TestProblemForms(t *testing.T) {
	for accept, want := range map[string]string{
		"": "text/plain; charset=utf-8", "text/html,*/*": "text/html; charset=utf-8",
		"application/json": "application/problem+json", "application/problem+json": "application/problem+json",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		problemNoEngine.write(w, r, "id")
		if got := w.Header().Get("Content-Type"); got != want || w.Code != 503 || w.Header().Get("Retry-After") != "5" || w.Body.Len() == 0 {
			t.Errorf("Accept %q: %d %s, %v", accept, w.Code, got, w.Header())
		}
	}
}

// Ended sessions are remembered, but not for ever.
func TestEndedIsBounded(t *testing.T) {
	tb := newTable()
	for i := range 3 * maxEnded {
		tb.end(SessionID{0, byte(i), byte(i >> 8)}, int64(i))
	}
	s := tb.shard(SessionID{})
	if len(s.ended) != maxEnded || len(s.order) != maxEnded {
		t.Errorf("%d ended sessions are kept, %d in order", len(s.ended), len(s.order))
	}
	last := 3*maxEnded - 1
	if _, ended := tb.enter(SessionID{0, byte(last), byte(last >> 8)}, nil, 1); !ended {
		t.Error("the newest is forgotten")
	}
}

package history

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMovedBy(t *testing.T) {
	before := func(s, door, owner string) Op { return asked(s, door, owner).at(10, 20) }
	for _, tc := range []struct {
		name string
		ops  []Op
		want Moved
	}{
		{"it moves at its next request", []Op{
			before("1", "n1", "n2"), asked("1", "n1", "n2").to("n3").at(400, 500),
		}, Moved{Sessions: 1, Owned: 1, Moved: 1, Elsewhere: []time.Duration{400 * ms}, Waited: []time.Duration{100 * ms}}},
		{"one was on the wire", []Op{
			before("1", "n1", "n2"), asked("1", "n1", "n2").at(90, 120).failed(), asked("1", "n1", "n2").to("n1").at(140, 150),
		}, Moved{Sessions: 1, Owned: 1, Moved: 1, Elsewhere: []time.Duration{50 * ms}, Waited: []time.Duration{50 * ms}, OnWire: 1}},
		{"its user was at the lost door", []Op{
			before("1", "n2", "n2"), asked("1", "n2", "n2").at(150, 1150).failed(), asked("1", "n1", "n2").to("n1").at(1200, 1210),
		}, Moved{Sessions: 1, Owned: 1, Moved: 1, AtItsDoor: []time.Duration{1110 * ms}, Waited: []time.Duration{10 * ms}, ByDoor: 1}},
		{"its user went to the lost door in between", []Op{
			before("1", "n1", "n2"), asked("1", "n1", "n2").at(90, 120).failed(), asked("1", "n2", "n2").at(130, 1130).failed(), asked("1", "n1", "n2").to("n1").at(1140, 1150),
		}, Moved{Sessions: 1, Owned: 1, Moved: 1, AtItsDoor: []time.Duration{1050 * ms}, Waited: []time.Duration{50 * ms}, OnWire: 1, ByDoor: 1}},
		{"it is not served again", []Op{
			before("1", "n1", "n2"), asked("1", "n1", "n2").at(90, 120).failed(),
		}, Moved{Sessions: 1, Owned: 1, OnWire: 1}},
		{"it fails long after", []Op{
			before("1", "n1", "n2"), asked("1", "n1", "n2").at(900, 920).failed(), asked("1", "n1", "n2").to("n1").at(940, 950),
		}, Moved{Sessions: 1, Owned: 1, Moved: 1, Elsewhere: []time.Duration{850 * ms}, Waited: []time.Duration{50 * ms}, Failed: 1}},
		{"another node's, at another door", []Op{
			before("1", "n1", "n3"), asked("1", "n1", "n3").at(150, 160),
		}, Moved{Sessions: 1}},
		{"another node's that fails", []Op{
			before("1", "n1", "n3"), asked("1", "n1", "n3").at(150, 160).failed(),
		}, Moved{Sessions: 1, Touched: 1, Failed: 1}},
		{"another node's that moves", []Op{
			before("1", "n1", "n3"), asked("1", "n1", "n3").to("n1").at(150, 160),
		}, Moved{Sessions: 1, Touched: 1}},
		{"another node's, at the lost door", []Op{
			before("1", "n2", "n3"), asked("1", "n2", "n3").at(150, 160).failed(), asked("1", "n1", "n3").at(170, 180),
		}, Moved{Sessions: 1, ByDoor: 1}},
		{"another node's that tries the lost door later", []Op{
			before("1", "n1", "n3"), asked("1", "n2", "n3").at(3000, 3010).failed(), asked("1", "n1", "n3").at(3170, 3180),
		}, Moved{Sessions: 1, ByDoor: 1}},
		{"a socket", []Op{
			opened("1", "n1", "n2").at(1, 2), message("1", "n1", "n2").at(10, 20), message("1", "n1", "n2").at(20, 101).failed(),
			opened("1", "n3", "n2").to("n3").at(120, 130), message("1", "n3", "n3").at(140, 150),
		}, Moved{Sessions: 1, Owned: 1, Moved: 1, Elsewhere: []time.Duration{30 * ms}, Waited: []time.Duration{30 * ms}, OnWire: 1, Sockets: 1, Opened: 1}},
		{"a socket that opens and is not used", []Op{
			opened("1", "n1", "n2").at(1, 2), message("1", "n1", "n2").at(10, 20), message("1", "n1", "n2").at(20, 101).failed(),
			opened("1", "n3", "n2").to("n3").at(120, 130),
		}, Moved{Sessions: 1, Owned: 1, Moved: 1, Elsewhere: []time.Duration{30 * ms}, Waited: []time.Duration{30 * ms}, OnWire: 1, Sockets: 1}},
		{"one that came later", []Op{asked("1", "n1", "n3").at(150, 160)}, Moved{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, MovedBy(tc.ops, killed("n2", 100, 0), Limits{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestKeptBy(t *testing.T) {
	ops := []Op{
		asked("1", "n1", "n1").at(10, 20), asked("1", "n1", "n1").at(110, 120), asked("1", "n2", "n1").at(130, 140).failed(), asked("1", "n1", "n1").at(150, 160),
		asked("2", "n1", "n1").at(10, 20), asked("2", "n1", "n1").at(110, 120).failed(), asked("2", "n1", "n1").to("n3").at(130, 140),
		asked("3", "n1", "n2").at(10, 20), asked("3", "n1", "n2").at(110, 120).failed(), asked("3", "n1", "n2").to("n1").at(130, 140),
	}
	want := Kept{Sessions: 2, Asked: 4, Failed: 1, Last: 160 * ms, Left: 1, Taken: 1}
	if d := cmp.Diff(want, KeptBy(ops, "n1", 100*ms)); d != "" {
		t.Error(d)
	}
}

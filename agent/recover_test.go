package agent

import "testing"

func TestNewerThan(t *testing.T) {
	own := Recovery{Revision: 100, LastIndex: 50, LastTerm: 3}
	for _, tc := range []struct {
		name  string
		other OtherServer
		want  bool
	}{
		{"the same", OtherServer{Revision: 100, LastIndex: 50, LastTerm: 3}, false},
		{"longer, not applied yet", OtherServer{Revision: 100, LastIndex: 51, LastTerm: 3}, true},
		{"shorter", OtherServer{Revision: 99, LastIndex: 49, LastTerm: 3}, false},
		{"longer, of an older term", OtherServer{Revision: 90, LastIndex: 70, LastTerm: 2}, false},
		{"shorter, of a later term", OtherServer{Revision: 90, LastIndex: 40, LastTerm: 4}, true},
		{"an agent that does not say where its log ends", OtherServer{Revision: 101}, true},
		{"it does not answer", OtherServer{}, false},
	} {
		if got := tc.other.newerThan(own); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

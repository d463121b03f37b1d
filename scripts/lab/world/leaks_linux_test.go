package world

import "testing"

func TestLeaked(t *testing.T) {
	before := []Resources{{"n1", 60, 130}, {"n2", 40, 100}, {"n3", 41, 99}}
	for _, tc := range []struct {
		name string
		now  []Resources
		kept int
		want bool
	}{
		{"as before", before, 0, false},
		{"another one leads", []Resources{{"n1", 41, 100}, {"n2", 62, 131}, {"n3", 42, 101}}, 0, false},
		{"a follower holds what a leader does", []Resources{{"n1", 60, 130}, {"n2", 60, 100}, {"n3", 41, 99}}, 0, true},
		{"the leader has more", []Resources{{"n1", 73, 130}, {"n2", 40, 100}, {"n3", 41, 99}}, 0, true},
		{"which is kept for a while", []Resources{{"n1", 73, 130}, {"n2", 40, 100}, {"n3", 41, 99}}, 10, false},
		{"goroutines", []Resources{{"n1", 60, 130}, {"n2", 40, 131}, {"n3", 41, 131}}, 0, true},
		{"one more node", []Resources{{"n1", 60, 130}, {"n2", 40, 100}, {"n3", 41, 99}, {"n4", 45, 105}}, 0, false},
		{"one more node, and it leaks", []Resources{{"n1", 60, 130}, {"n2", 55, 100}, {"n3", 41, 99}, {"n4", 60, 105}}, 0, true},
		{"a node less", []Resources{{"n2", 40, 100}, {"n3", 41, 99}}, 0, false},
	} {
		if err := leaked(before, tc.now, tc.kept); (err != nil) != tc.want {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

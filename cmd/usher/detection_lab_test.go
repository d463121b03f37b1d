//go:build lab

package main

import "testing"

func TestNoDetection(t *testing.T) {
	for text, want := range map[string]bool{"off": true, "on": false, "": false} {
		if got := noDetection(func(name string) (string, bool) { return text, name == labDetectionVariable }); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}

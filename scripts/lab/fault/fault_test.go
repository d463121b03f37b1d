//go:build linux

package fault

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/scripts/lab/plan"
)

// TestEveryKindHasItsFault: what the plan draws can be made, and nothing is made that the
// plan never draws.
func TestEveryKindHasItsFault(t *testing.T) {
	var planned []string
	for _, k := range plan.Kinds() {
		planned = append(planned, k.Name)
	}
	slices.Sort(planned)
	if d := cmp.Diff(planned, slices.Sorted(maps.Keys(makers()))); d != "" {
		t.Error(d)
	}
}

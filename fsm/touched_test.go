package fsm

import (
	"bytes"
	"testing"
)

func TestTouched(t *testing.T) {
	r := newReplica(t).init()
	r.must(&PutTask{Task: Task{Name: "t", Document: "d", Every: 1 << 40, Attempts: 1, Timeout: 1 << 36, CatchUp: 1 << 36}})
	before := r.f.View()
	set := r.must(&SetSetting{Key: "door.show_node", Value: "true"}).Revision
	v := r.f.View()
	if got := v.Touched(InSettings); got != set {
		t.Errorf("settings %d, want %d", got, set)
	}
	if got := v.Touched(InTokens | InTasks); got != before.Touched(InTokens|InTasks) || got == set {
		t.Errorf("tokens and tasks %d: they have not changed", got)
	}
	if got := v.Touched(InTasks | InSettings | InAudit); got != set {
		t.Errorf("a set of them %d, want %d", got, set)
	}
	if before.Touched(InSettings) >= set {
		t.Error("a view has changed")
	}
	unset := r.must(&UnsetSetting{Key: "door.show_node"}).Revision
	if got := r.f.View().Touched(InSettings); got != unset {
		t.Errorf("a row that was removed: %d, want %d", got, unset)
	}
	run := r.must(&RequestRun{Task: "t"}).Revision
	if v := r.f.View(); v.Touched(InOccurrences) != run || v.Touched(InTasks) == run {
		t.Errorf("a run at %d: occurrences %d, tasks %d", run, v.Touched(InOccurrences), v.Touched(InTasks))
	}
	r.refused(CodeNotFound, &SetSetting{Key: "door.show_node", Value: "true", If: 1 << 40})
	if v := r.f.View(); v.Touched(InSettings) != unset || v.Touched(Everything) != v.Revision() || v.Touched(InAudit) != v.Revision() {
		t.Errorf("refused at %d: settings %d, everything %d", v.Revision(), v.Touched(InSettings), v.Touched(Everything))
	}
	// What happened before a snapshot is forgotten, so everything may have changed.
	s, err := r.f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if _, err := s.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	g := New(Options{})
	if err := g.Restore(&buf); err != nil {
		t.Fatal(err)
	}
	if v := g.View(); v.Touched(InTasks) != v.Revision() {
		t.Errorf("restored: tasks %d, want %d", v.Touched(InTasks), v.Revision())
	}
}

package fsm

import (
	"bytes"
	"iter"
	"slices"
	"testing"
)

func revisions(rows iter.Seq[*Audit]) []uint64 {
	var out []uint64
	for a := range rows {
		out = append(out, a.Revision)
	}
	return out
}

func journalOf(revs ...uint64) (j journal) {
	for _, rev := range revs {
		j = j.add(&Audit{Revision: rev})
	}
	return j
}

func TestJournalReads(t *testing.T) {
	j := journalOf(3, 5, 9)
	for name, c := range map[string]struct {
		got  iter.Seq[*Audit]
		want []uint64
	}{
		"all":                    {j.from(0), []uint64{3, 5, 9}},
		"from one that is there": {j.from(5), []uint64{5, 9}},
		"from one between":       {j.from(6), []uint64{9}},
		"from behind the end":    {j.from(10), nil},
		"before all":             {j.before(3), nil},
		"before one":             {j.before(9), []uint64{5, 3}},
		"before the end of time": {j.before(^uint64(0)), []uint64{9, 5, 3}},
		"of none":                {journal{}.from(0), nil},
		"before any of none":     {journal{}.before(7), nil},
	} {
		if got := revisions(c.got); !slices.Equal(got, c.want) {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestJournalsKeepTheirRows holds that a view's journal stays as it is while rows come
// and go in later ones.
func TestJournalsKeepTheirRows(t *testing.T) {
	j := journalOf(1, 2, 3)
	kept := []journal{j}
	for rev := uint64(4); rev < 200; rev++ {
		j = j.add(&Audit{Revision: rev})
		var gone *Audit
		if j, gone = j.drop(); gone.Revision != rev-3 {
			t.Fatalf("dropped %d, want %d", gone.Revision, rev-3)
		}
		kept = append(kept, j)
	}
	for i, k := range kept {
		first := uint64(i + 1)
		if got, want := revisions(k.from(0)), []uint64{first, first + 1, first + 2}; !slices.Equal(got, want) {
			t.Fatalf("journal %d holds %d, want %d", i, got, want)
		}
	}
}

func TestSnapshotWithAuditRowsOutOfOrder(t *testing.T) {
	f := New(Options{})
	f.rev, f.log = 3, journalOf(2, 1)
	f.publish()
	s, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if err := New(Options{}).Restore(&b); err == nil {
		t.Fatal("a snapshot whose audit rows are not in order was restored")
	}
}

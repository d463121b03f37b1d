package membership

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
)

const someID peer.ID = "abcdefghijklmno2"

// sample is a report with something in every field.
func sample() report {
	return report{ID: someID, Boot: 7, Load: peer.Load{
		Seq: 300, CPUPermille: 250, MemFreeBytes: 3 << 30, MemTotalBytes: 16 << 30,
		Engines: []peer.EngineLoad{
			{Name: "qlik", Health: peer.Healthy, Sessions: 130, InFlight: 2, Permille: 400, Documents: []string{"finance", "sales"}},
			{Name: "shiny.2", Health: peer.Dead, Permille: -1},
		},
	}}
}

func TestReportGolden(t *testing.T) {
	b := encodeReport(sample())
	golden(t, "report", b)
	got, err := decodeReport(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeReport(t *testing.T) {
	good := encodeReport(sample())
	later := append(append([]byte{200}, good[1:]...), "what version 200 says more"...)
	if got, err := decodeReport(later); err != nil || !cmp.Equal(got, sample()) {
		t.Errorf("a later version: %+v, %v", got, err)
	}
	strange := sample()
	b := encodeReport(strange)
	b[strings.Index(string(b), "qlik")+len("qlik")] = 99
	if got, err := decodeReport(b); err != nil || got.Load.Engines[0].Health != peer.Unhealthy {
		t.Errorf("an unknown health: %+v, %v", got, err)
	}
	for n := range good {
		if _, err := decodeReport(good[:n]); !errors.Is(err, errMalformed) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	for name, change := range map[string]func(*report){
		"id":              func(r *report) { r.ID = "abcdefghijklmno1" },
		"cpu":             func(r *report) { r.Load.CPUPermille = 1001 },
		"engine name":     func(r *report) { r.Load.Engines[0].Name = "a b" },
		"engine order":    func(r *report) { r.Load.Engines[0].Name = "zzz" },
		"engine twice":    func(r *report) { r.Load.Engines[0].Name = "shiny.2" },
		"sessions":        func(r *report) { r.Load.Engines[0].Sessions = 1 << 40 },
		"own load":        func(r *report) { r.Load.Engines[0].Permille = 1001 },
		"own load low":    func(r *report) { r.Load.Engines[0].Permille = -2 },
		"document order":  func(r *report) { r.Load.Engines[0].Documents = []string{"b", "a"} },
		"document twice":  func(r *report) { r.Load.Engines[0].Documents = []string{"a", "a"} },
		"empty document":  func(r *report) { r.Load.Engines[0].Documents = []string{""} },
		"long document":   func(r *report) { r.Load.Engines[0].Documents = []string{strings.Repeat("a", 129)} },
		"many documents":  func(r *report) { r.Load.Engines[0].Documents = names("d", 33) },
		"many engines":    func(r *report) { r.Load.Engines = engines(17, 0, 0) },
		"too many bytes":  func(r *report) { r.Load.Engines = engines(16, 32, 100) },
		"wrong version 0": func(*report) {},
	} {
		t.Run(name, func(t *testing.T) {
			r := sample()
			change(&r)
			b := encodeReport(r)
			if strings.HasSuffix(name, "version 0") {
				b[0] = 0
			}
			if got, err := decodeReport(b); !errors.Is(err, errMalformed) {
				t.Errorf("accepted as %+v, %v", got, err)
			}
		})
	}
}

func names(prefix string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%s%02d", prefix, i))
	}
	return out
}

// engines makes n engines with documents of a size.
func engines(n, documents, size int) []peer.EngineLoad {
	var out []peer.EngineLoad
	for _, name := range names("e", n) {
		out = append(out, peer.EngineLoad{Name: name, Health: peer.Healthy, Permille: -1,
			Documents: names(strings.Repeat("x", max(0, size-2)), documents)})
	}
	return out
}

func TestFit(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []peer.EngineLoad
		want []peer.EngineLoad
	}{
		{"nothing", nil, nil},
		{"sorted", []peer.EngineLoad{{Name: "b"}, {Name: "a", Documents: []string{"y", "x"}}},
			[]peer.EngineLoad{{Name: "a", Documents: []string{"x", "y"}}, {Name: "b"}}},
		{"twice", []peer.EngineLoad{{Name: "a", Sessions: 1}, {Name: "a", Sessions: 2}}, []peer.EngineLoad{{Name: "a", Sessions: 1}}},
		{"names that are none", []peer.EngineLoad{{Name: "A"}, {Name: ""}, {Name: "ok"}}, []peer.EngineLoad{{Name: "ok"}}},
		{"numbers", []peer.EngineLoad{{Name: "a", Sessions: -1, InFlight: -5, Permille: -9}, {Name: "b", Permille: 2000}},
			[]peer.EngineLoad{{Name: "a", Permille: -1}, {Name: "b", Permille: 1000}}},
		{"documents", []peer.EngineLoad{{Name: "a", Documents: append([]string{"", strings.Repeat("a", 129), "d00"}, names("d", 40)...)}},
			[]peer.EngineLoad{{Name: "a", Documents: names("d", 32)}}},
		{"too many engines", engines(20, 0, 0), engines(16, 0, 0)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := fit(report{ID: someID, Load: peer.Load{Engines: tc.in}})
			if diff := cmp.Diff(report{ID: someID, Load: peer.Load{Engines: tc.want}}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFitCutsDocumentsFirst(t *testing.T) {
	in := engines(16, 32, 100)
	got := fit(report{ID: someID, Load: peer.Load{CPUPermille: 5000, Engines: in}})
	b := encodeReport(got)
	if len(b) > maxReport || len(b) < maxReport-16*101 {
		t.Errorf("%d bytes", len(b))
	}
	if len(got.Load.Engines) != 16 || len(got.Load.Engines[15].Documents) != len(got.Load.Engines[0].Documents) {
		t.Errorf("%d engines", len(got.Load.Engines))
	}
	if _, err := decodeReport(b); err != nil {
		t.Error(err)
	}
	if len(in[0].Documents) != 32 {
		t.Error("the caller's report was changed")
	}
	worst := engines(16, 32, 128)
	for i := range worst {
		worst[i].Name += strings.Repeat("n", maxEngineName-len(worst[i].Name))
		worst[i].Sessions, worst[i].InFlight, worst[i].Permille = 1<<40, 1<<40, 1<<40
	}
	if b := encodeReport(fit(report{ID: someID, Boot: 1<<64 - 1, Load: peer.Load{Seq: 1<<64 - 1, MemFreeBytes: 1<<64 - 1, Engines: worst}})); len(b) > maxReport {
		t.Errorf("the largest report has %d bytes", len(b))
	}
}

func FuzzReport(f *testing.F) {
	f.Add(encodeReport(sample()))
	f.Add(encodeReport(report{ID: someID}))
	f.Add(encodeReport(fit(report{ID: someID, Load: peer.Load{Engines: engines(16, 32, 100)}})))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeReport(b)
		if err != nil {
			return
		}
		if fitted := fit(r); !reflect.DeepEqual(r, fitted) {
			t.Errorf("what was read does not fit (-read +fit):\n%s", cmp.Diff(r, fitted))
		}
		again, err := decodeReport(encodeReport(r))
		if err != nil {
			t.Fatalf("%+v does not survive: %v", r, err)
		}
		if !reflect.DeepEqual(r, again) {
			t.Error(cmp.Diff(r, again))
		}
	})
}

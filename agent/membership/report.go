package membership

import (
	"encoding/binary"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/ushercluster/usher/agent/peer"
)

// reportVersion is the layout that this code writes. A later one only appends
// fields after the last engine.
const reportVersion = 1

// Limits of a report. Writers cut, readers refuse.
const (
	maxReport       = 4 << 10
	maxEngines      = 16
	maxEngineName   = 63
	maxDocumentName = 128
)

// report is a node's load as it travels.
type report struct {
	ID   peer.ID
	Boot uint64
	Load peer.Load // Received does not travel
}

// newer reports whether r supersedes an earlier report of the same node.
func (r report) newer(old report) bool {
	if r.Boot != old.Boot {
		return r.Boot > old.Boot
	}
	return r.Load.Seq > old.Load.Seq
}

var healthCodes = []peer.Health{0: "", 1: peer.Healthy, 2: peer.Unhealthy, 3: peer.Dead}

// encodeReport writes r, whose load has been through fit.
func encodeReport(r report) []byte {
	b := make([]byte, 0, 128)
	b = append(b, reportVersion)
	b = appendString(b, string(r.ID))
	b = binary.AppendUvarint(b, r.Boot)
	b = binary.AppendUvarint(b, r.Load.Seq)
	b = binary.AppendUvarint(b, uint64(r.Load.CPUPermille))
	b = binary.AppendUvarint(b, r.Load.MemFreeBytes)
	b = binary.AppendUvarint(b, r.Load.MemTotalBytes)
	b = binary.AppendUvarint(b, uint64(len(r.Load.Engines)))
	for _, e := range r.Load.Engines {
		b = appendString(b, e.Name)
		b = append(b, byte(max(0, slices.Index(healthCodes, e.Health))))
		b = binary.AppendUvarint(b, uint64(e.Sessions))
		b = binary.AppendUvarint(b, uint64(e.InFlight))
		b = binary.AppendVarint(b, int64(e.Permille))
		b = binary.AppendUvarint(b, uint64(len(e.Documents)))
		for _, doc := range e.Documents {
			b = appendString(b, doc)
		}
	}
	return b
}

// decodeReport reads what encodeReport of this or a later version wrote.
func decodeReport(b []byte) (report, error) {
	d := decoder{b: b}
	if len(b) > maxReport {
		d.fail("report size")
	}
	if d.byte("report version") == 0 {
		d.fail("report version")
	}
	var r report
	r.ID = peer.ID(d.string("node id", len("aaaaaaaaaaaaaaaa")))
	if !r.ID.Valid() {
		d.fail("node id")
	}
	r.Boot = d.uint("boot", math.MaxUint64)
	r.Load.Seq = d.uint("sequence", math.MaxUint64)
	r.Load.CPUPermille = int(d.uint("cpu", 1000))
	r.Load.MemFreeBytes = d.uint("free memory", math.MaxUint64)
	r.Load.MemTotalBytes = d.uint("memory", math.MaxUint64)
	for range d.uint("engine count", maxEngines) {
		e := decodeEngine(&d)
		if n := len(r.Load.Engines); n > 0 && r.Load.Engines[n-1].Name >= e.Name {
			d.fail("engine order")
		}
		r.Load.Engines = append(r.Load.Engines, e)
	}
	if d.err != nil {
		return report{}, d.err
	}
	return r, nil
}

func decodeEngine(d *decoder) peer.EngineLoad {
	e := peer.EngineLoad{Name: d.string("engine name", maxEngineName)}
	if !peer.ValidName(e.Name) {
		d.fail("engine name")
	}
	// A health that a later version invented is at least not a reason to send
	// sessions there.
	e.Health = peer.Unhealthy
	if code := d.byte("health"); int(code) < len(healthCodes) {
		e.Health = healthCodes[code]
	}
	e.Sessions = int(d.uint("sessions", math.MaxInt32))
	e.InFlight = int(d.uint("requests", math.MaxInt32))
	e.Permille = d.int("engine load", -1, 1000)
	for range d.uint("document count", peer.MaxDocuments) {
		doc := d.string("document", maxDocumentName)
		if n := len(e.Documents); doc == "" || n > 0 && e.Documents[n-1] >= doc {
			d.fail("document order")
		}
		e.Documents = append(e.Documents, doc)
	}
	return e
}

// fit returns a copy of l that a report can carry: sorted, within the limits, and
// with as many documents per engine as there is room for.
func fit(r report) report {
	l := &r.Load
	l.CPUPermille = clamp(l.CPUPermille, 0, 1000)
	l.Engines = slices.Clone(l.Engines)
	l.Engines = slices.DeleteFunc(l.Engines, func(e peer.EngineLoad) bool { return !peer.ValidName(e.Name) })
	slices.SortFunc(l.Engines, func(a, b peer.EngineLoad) int { return strings.Compare(a.Name, b.Name) })
	l.Engines = slices.CompactFunc(l.Engines, func(a, b peer.EngineLoad) bool { return a.Name == b.Name })
	l.Engines = cut(l.Engines, maxEngines)
	for i := range l.Engines {
		e := &l.Engines[i]
		e.Sessions = clamp(e.Sessions, 0, math.MaxInt32)
		e.InFlight = clamp(e.InFlight, 0, math.MaxInt32)
		e.Permille = clamp(e.Permille, -1, 1000)
		e.Documents = documents(e.Documents)
	}
	if len(encodeReport(r)) <= maxReport {
		return r
	}
	room := sort.Search(peer.MaxDocuments, func(n int) bool {
		return len(encodeReport(withDocuments(r, n+1))) > maxReport
	})
	return withDocuments(r, room)
}

// withDocuments is r with at most room documents for each engine.
func withDocuments(r report, room int) report {
	r.Load.Engines = slices.Clone(r.Load.Engines)
	for i := range r.Load.Engines {
		r.Load.Engines[i].Documents = cut(r.Load.Engines[i].Documents, room)
	}
	return r
}

// documents sorts a copy of names. One that is too long is left out: cut short it
// would name another document.
func documents(names []string) []string {
	names = slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s == "" || len(s) > maxDocumentName })
	slices.Sort(names)
	return cut(slices.Compact(names), peer.MaxDocuments)
}

// cut keeps at most the first n elements, nil for none.
func cut[E any](s []E, n int) []E {
	if n = min(n, len(s)); n == 0 {
		return nil
	}
	return s[:n:n]
}

func clamp(v, lowest, highest int) int { return min(max(v, lowest), highest) }

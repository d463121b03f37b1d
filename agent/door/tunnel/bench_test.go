package tunnel

import "testing"

func BenchmarkFrames(b *testing.B) {
	in := make([]byte, 0, 64<<10)
	for len(in) < 60<<10 {
		in = append(in, frame(false, 0x82, make([]byte, 200))...)
	}
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		var s frameScanner
		for p := in; len(p) > 0; {
			n, _, err := s.scan(p, false)
			if err != nil {
				b.Fatal(err)
			}
			p = p[n:]
		}
	}
}

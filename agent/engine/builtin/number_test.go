package builtin

import (
	"math/big"
	"strings"
	"testing"
)

func TestNumberShape(t *testing.T) {
	tests := map[string]struct {
		want shape
		ok   bool
	}{
		"0": {shape{1, 0}, true}, "-5": {shape{1, 0}, true}, "12.50": {shape{2, 2}, true}, "-0.125": {shape{1, 3}, true},
		"12345678901234567":  {shape{17, 0}, true},
		"123456789012345678": {}, "12345678901.1234567": {}, "007": {}, "": {}, "-": {}, ".5": {}, "5.": {}, "1e5": {},
		"+1": {}, "0x10": {}, "1,5": {}, " 1": {}, "1_000": {}, "NaN": {}, "--1": {}, "1.2.3": {}, "\u0661": {},
	}
	for in, tc := range tests {
		if got, ok := numberShape(in); got != tc.want || ok != tc.ok {
			t.Errorf("numberShape(%q) = %v, %v, want %v, %v", in, got, ok, tc.want, tc.ok)
		}
	}
}

func TestScaleAndFormat(t *testing.T) {
	for _, tc := range []struct {
		in       string
		decimals int
		want     string
	}{
		{"0", 0, "0"}, {"0", 2, "0.00"}, {"-0.5", 1, "-0.5"}, {"-0.05", 2, "-0.05"}, {"12.5", 3, "12.500"}, {"-7", 2, "-7.00"}, {"100", 0, "100"},
	} {
		v, err := scaleNumber(tc.in, tc.decimals)
		if err != nil {
			t.Fatal(err)
		}
		if got := formatNumber(v, tc.decimals); got != tc.want {
			t.Errorf("%q with %d decimals is shown as %q, want %q", tc.in, tc.decimals, got, tc.want)
		}
	}
	if got := formatNumber(noNumber, 2); got != "" {
		t.Errorf("an empty field is shown as %q", got)
	}
}

// Sums stay exact where an int64 ends.
func TestTotal(t *testing.T) {
	const huge = 99_999_999_999_999_999
	for _, sign := range []int64{1, -1} {
		var sum total
		want := new(big.Int)
		for range 1000 {
			sum.add(sign * huge)
			want.Add(want, big.NewInt(sign*huge))
		}
		sum.add(0)
		if got := strings.Replace(sum.format(2), ".", "", 1); got != want.String() {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

package builtin

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Numbers are kept as integers scaled by the column's decimals, so that sums are
// exact and do not depend on the order of rows.
const (
	maxDecimals = 6
	maxDigits   = 17 // integer digits and decimals together: fits in an int64, twice

	noNumber = math.MinInt64 // an empty field in a column of numbers
)

// shape is what a field needs if it is to be a number.
type shape struct{ integers, decimals int }

// numberShape reports whether s is a number in the sense of this package: an
// optional '-', digits, and at most six decimals. "007" is none: it is a code
// whose zeros matter.
func numberShape(s string) (shape, bool) {
	s = strings.TrimPrefix(s, "-")
	whole, frac, dot := strings.Cut(s, ".")
	if !digits(whole) || dot && !digits(frac) || len(frac) > maxDecimals {
		return shape{}, false
	}
	if len(whole) > 1 && whole[0] == '0' || len(whole)+len(frac) > maxDigits {
		return shape{}, false
	}
	return shape{len(whole), len(frac)}, true
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// scaleNumber returns s times 10 to the decimals; s has a shape with no more
// decimals than that.
func scaleNumber(s string, decimals int) (int64, error) {
	whole, frac, _ := strings.Cut(s, ".")
	return strconv.ParseInt(whole+frac+strings.Repeat("0", decimals-len(frac)), 10, 64)
}

// formatNumber undoes scaleNumber; v may be noNumber, which is "".
func formatNumber(v int64, decimals int) string {
	if v == noNumber {
		return ""
	}
	return pointed(strconv.FormatInt(v, 10), decimals)
}

// pointed puts the decimal point into a scaled integer.
func pointed(s string, decimals int) string {
	if decimals == 0 {
		return s
	}
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	if pad := decimals + 1 - len(s); pad > 0 {
		s = strings.Repeat("0", pad) + s
	}
	return sign + s[:len(s)-decimals] + "." + s[len(s)-decimals:]
}

// total adds scaled numbers without overflow.
type total struct {
	small int64
	big   *big.Int // what small could not hold
}

func (t *total) add(v int64) {
	sum := t.small + v
	if (sum > t.small) == (v > 0) {
		t.small = sum
		return
	}
	if t.big == nil {
		t.big = new(big.Int)
	}
	t.big.Add(t.big, big.NewInt(t.small))
	t.small = v
}

func (t *total) format(decimals int) string {
	if t.big == nil {
		return pointed(strconv.FormatInt(t.small, 10), decimals)
	}
	return pointed(new(big.Int).Add(t.big, big.NewInt(t.small)).String(), decimals)
}

package admin

import (
	"fmt"
	"strings"
	"time"
)

// Duration is a time.Duration that is text in JSON: "1h30m".
type Duration time.Duration

// D converts back.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String is Go's form without zero parts at the end: 30m, not 30m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 90s or 1h30m", clip(string(b), 32))
	}
	*d = Duration(v)
	return nil
}

// clip shortens what callers sent before it is shown back to them.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

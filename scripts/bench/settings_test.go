package bench

import (
	"errors"
	"strings"
	"testing"

	"github.com/ushercluster/usher/fsm"
)

func TestValuesAreCanonical(t *testing.T) {
	for k := range Keys {
		for _, seq := range []int64{1, 999, 1000, 1_000_000, 60_000_000, 100_000_000} {
			v := Value(k, seq)
			got, err := fsm.Canonical(Setting(k), v)
			if err != nil {
				t.Fatal(err)
			}
			back, err := SeqOf(k, got)
			if err != nil || back != seq {
				t.Errorf("%s: %s became %s, that is %d and not %d (%v)", Setting(k), v, got, back, seq, err)
			}
		}
	}
}

func TestCheckSetting(t *testing.T) {
	const row = `{"etag":"9","created":7,"modified":9,"key":"door.head_timeout","value":"10m0.000001s","source":"cluster"}`
	for name, tc := range map[string]struct {
		answer  Answer
		version uint64
		want    string // part of the error
	}{
		"good":          {Answer{Status: 200, Index: 9, Body: []byte(row)}, 9, ""},
		"never set":     {Answer{Status: 200, Index: 9, Body: []byte(strings.Replace(row, `"modified":9,`, "", 1))}, 0, ""},
		"refused":       {Answer{Status: 503, Index: 9, Body: []byte(`{"code":"no_quorum"}`)}, 0, "no_quorum"},
		"another key":   {Answer{Status: 200, Index: 9, Body: []byte(strings.Replace(row, "head_timeout", "max_body", 1))}, 0, "asked for"},
		"without value": {Answer{Status: 200, Index: 9, Body: []byte(strings.Replace(row, "10m0.000001s", "", 1))}, 0, "lacks"},
		"no revision":   {Answer{Status: 200, Body: []byte(row)}, 0, "lacks"},
		"from ahead":    {Answer{Status: 200, Index: 8, Body: []byte(row)}, 0, "after the revision"},
		"cut off":       {Answer{Status: 200, Index: 9, Body: []byte(row[:55])}, 0, "asked for"},
	} {
		t.Run(name, func(t *testing.T) {
			version, err := CheckSetting(tc.answer, 1)
			if tc.want == "" && (err != nil || version != tc.version) {
				t.Errorf("got %d, %v", version, err)
			}
			if tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	var status *StatusError
	if _, err := CheckSetting(Answer{Status: 503}, 0); !errors.As(err, &status) || status.Status != 503 {
		t.Errorf("got %v", err)
	}
}

package builtin

import (
	"encoding/json"
	"errors"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sample(t *testing.T) *Table {
	t.Helper()
	tab, err := loadText("region,units,price,a,a:b\nnorth,1,0.10,,p\nsouth,2,0.20,,q\nnorth,,0.70,,q:r\neast,4,1.00,b:p,\n")
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func TestQuery(t *testing.T) {
	tests := map[string]struct {
		in   string
		rows int
		sums map[string]json.Number
		data [][]string
	}{
		"all":              {"sum=price&sum=units&limit=0", 4, map[string]json.Number{"price": "2.00", "units": "7"}, [][]string{}},
		"filter":           {"filter=region:north&sum=price&limit=0", 2, map[string]json.Number{"price": "0.80"}, [][]string{}},
		"or in a column":   {"filter=region:north&filter=region:east&limit=0", 3, map[string]json.Number{}, [][]string{}},
		"and over columns": {"filter=region:north&filter=units:1", 1, map[string]json.Number{}, [][]string{{"north", "1", "0.10", "", "p"}}},
		"by number":        {"filter=price:0.2&limit=1", 1, map[string]json.Number{}, [][]string{{"south", "2", "0.20", "", "q"}}},
		"number empty":     {"filter=units:", 1, map[string]json.Number{}, [][]string{{"north", "", "0.70", "", "q:r"}}},
		"text empty":       {"filter=a:b:", 1, map[string]json.Number{}, [][]string{{"east", "4", "1.00", "b:p", ""}}},
		"colons":           {"filter=a:b:q:r", 1, map[string]json.Number{}, [][]string{{"north", "", "0.70", "", "q:r"}}},
		"none":             {"filter=region:west&sum=units", 0, map[string]json.Number{"units": "0"}, [][]string{}},
		"not a number":     {"filter=units:x", 0, map[string]json.Number{}, [][]string{}},
		"page":             {"offset=1&limit=2", 4, map[string]json.Number{}, [][]string{{"south", "2", "0.20", "", "q"}, {"north", "", "0.70", "", "q:r"}}},
		"beyond":           {"offset=9", 4, map[string]json.Number{}, [][]string{}},
		"any":              {"filter=&limit=0", 4, map[string]json.Number{}, [][]string{}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			tab := sample(t)
			v, err := url.ParseQuery(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			q, err := parseQuery(tab, v)
			if err != nil {
				t.Fatal(err)
			}
			got, err := tab.Query(q)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Answer{tc.rows, tc.sums, tc.data}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestQueryRefused(t *testing.T) {
	tab := sample(t)
	for in, want := range map[string]error{
		"filter=color:red": ErrNoColumn, "filter=region": ErrNoColumn, "sum=color": ErrNoColumn, "sum=region": ErrNotNumeric,
		"limit=1001": errBadQuery, "limit=-1": errBadQuery, "offset=x": errBadQuery,
	} {
		v, _ := url.ParseQuery(in)
		q, err := parseQuery(tab, v)
		if err == nil {
			_, err = tab.Query(q)
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", in, err, want)
		}
	}
}

package builtin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	pageRows    = 50
	maxPageRows = 1000
	maxFilters  = 256 // in one query
)

var errBadQuery = errors.New("bad query")

// queryAnswer is the body of GET /doc/{key}/api/query.
type queryAnswer struct {
	Document string                 `json:"document"`
	Loaded   time.Time              `json:"loaded"`
	Columns  []columnInfo           `json:"columns"`
	Rows     int                    `json:"rows"` // that pass the filters
	Offset   int                    `json:"offset"`
	Limit    int                    `json:"limit"`
	Sums     map[string]json.Number `json:"sums"`
	Data     [][]string             `json:"data"`
}

type columnInfo struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

func (s *Server) query(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	t, err := s.library.open(r.Context(), key)
	if err != nil {
		s.refuse(w, key, err)
		return
	}
	if ss := s.sessions.find(r); ss != nil {
		ss.touch(s.o.Now())
	}
	q, err := parseQuery(t, r.URL.Query())
	if err != nil {
		s.refuse(w, key, err)
		return
	}
	ans, err := t.Query(q)
	if err != nil {
		s.refuse(w, key, err)
		return
	}
	out := queryAnswer{
		Document: key, Loaded: t.Loaded, Rows: ans.Rows, Offset: q.Offset, Limit: q.Limit,
		Sums: ans.Sums, Data: ans.Data, Columns: make([]columnInfo, len(t.Columns)),
	}
	for i := range t.Columns {
		out.Columns[i] = columnInfo{t.Columns[i].Name, t.Columns[i].Kind()}
	}
	s.writeJSON(w, out)
}

// parseQuery reads filter=COLUMN:VALUE and sum=COLUMN (both repeatable), offset
// and limit. Filters on one column are alternatives; an empty one is ignored,
// because a form sends it for "any".
func parseQuery(t *Table, v url.Values) (Query, error) {
	q := Query{Where: Selections{}, Sums: v["sum"]}
	if len(v["filter"]) > maxFilters || len(q.Sums) > maxColumns {
		return q, fmt.Errorf("%w: at most %d filters and %d sums", errBadQuery, maxFilters, maxColumns)
	}
	for _, f := range v["filter"] {
		if f == "" {
			continue
		}
		column, value, err := t.parseFilter(f)
		if err != nil {
			return q, err
		}
		q.Where[column] = append(q.Where[column], value)
	}
	var err error
	if q.Offset, err = number(v, "offset", 0, 1<<30); err != nil {
		return q, err
	}
	q.Limit, err = number(v, "limit", pageRows, maxPageRows)
	return q, err
}

func number(v url.Values, name string, def, most int) (int, error) {
	s := v.Get(name)
	if s == "" {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("%w: %s %q: use 0 to %d", errBadQuery, name, s, most)
	}
	return n, nil
}

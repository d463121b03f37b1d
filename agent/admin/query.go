package admin

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// query is the request's, as far as it can be read: checkQuery refuses what cannot.
func (c *call) query() url.Values {
	if c.values == nil && c.r.URL.RawQuery != "" {
		c.values = c.r.URL.Query()
	}
	return c.values
}

// parameters are those that the route takes.
func (r *route) parameters() []parameter {
	var out []parameter
	if r.method == http.MethodGet && r.out != nil && !r.open {
		out = append(out,
			parameter{"stale", "answer with what this node knows, without asking a majority"},
			parameter{"index", "answer when what this shows is newer than this revision, or wait is over"},
			parameter{"wait", "how long to wait for that, at most 60s"},
		)
	}
	if r.list {
		out = append(out, parameter{"limit", "items on a page, 1 to 1000, 100 by default"}, parameter{"cursor", "next of the page before"})
	}
	return append(out, r.query...)
}

// checkQuery refuses parameters that the route does not take: a mistyped filter
// that is ignored shows the wrong rows, or closes the wrong ones.
func (c *call) checkQuery() error {
	if c.r.URL.RawQuery == "" {
		return nil
	}
	known := c.route.parameters()
	given, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return malformed("the query is malformed", "")
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		values := given[name]
		if !slices.ContainsFunc(known, func(p parameter) bool { return p.name == name }) {
			return malformed("there is no parameter "+clip(name, 64)+" here", suggest(name, names(known)))
		}
		if len(values) > 1 {
			return malformed("the parameter "+name+" is given more than once", "")
		}
	}
	return nil
}

func names(ps []parameter) []string {
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.name
	}
	slices.Sort(out)
	return out
}

// flag is a parameter that is given or not: ?stale, ?stale=true, ?stale=false.
func (c *call) flag(name string) (bool, error) {
	q := c.query()
	if !q.Has(name) {
		return false, nil
	}
	switch v := q.Get(name); v {
	case "", "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	default:
		return false, invalidParameter(name, v, "use true or false")
	}
}

func (c *call) param(name string) string { return c.query().Get(name) }

// suggest says which name was most likely meant, or which there are.
func suggest(got string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if d := editDistance(strings.ToLower(got), k); d < least {
			best, least = k, d
		}
	}
	switch {
	case best != "":
		return "did you mean " + best + "?"
	case len(known) == 0:
		return "leave it out"
	}
	return "there are: " + strings.Join(known, ", ")
}

// editDistance is Levenshtein's. Long strings are far from everything.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal, row[j+1] = row[j+1], min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

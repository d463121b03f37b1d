package admin

import (
	"encoding/base64"
	"sort"
	"strconv"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// window is the page that was asked for: at most limit items behind the key after.
// Keys are compared as text, in the order of the list.
type window struct {
	limit int
	after string
	begun bool // there was a cursor
}

func (c *call) window() (window, error) {
	w := window{limit: defaultLimit}
	q := c.query()
	if q.Has("limit") {
		n, err := strconv.Atoi(q.Get("limit"))
		if err != nil || n < 1 || n > maxLimit {
			return w, invalidParameter("limit", q.Get("limit"), "use 1 to 1000")
		}
		w.limit = n
	}
	if q.Has("cursor") {
		b, err := base64.RawURLEncoding.DecodeString(q.Get("cursor"))
		if err != nil || len(b) == 0 || len(b) > 1024 {
			return w, invalidParameter("cursor", q.Get("cursor"), "use next of the page before, as it is")
		}
		w.after, w.begun = string(b), true
	}
	return w, nil
}

func cursorOf(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

// cut returns the window's part of rows that are sorted by key, ascending, and the
// cursor of the next page. The cursor names the last item, so that a page is right
// although rows came and went meanwhile.
func cut[T any](w window, rows []T, key func(T) string) (page []T, next string) {
	if w.begun {
		rows = rows[sort.Search(len(rows), func(i int) bool { return key(rows[i]) > w.after }):]
	}
	if len(rows) <= w.limit {
		return rows, ""
	}
	return rows[:w.limit], cursorOf(key(rows[w.limit-1]))
}

// listOf makes a page of rows, converted one by one.
func listOf[R, T any](w window, rows []R, key func(R) string, convert func(R) T) List[T] {
	page, next := cut(w, rows, key)
	out := List[T]{Items: make([]T, 0, len(page)), Next: next}
	for _, r := range page {
		out.Items = append(out.Items, convert(r))
	}
	return out
}

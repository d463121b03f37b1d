package builtin

import (
	"bytes"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/ushercluster/usher/agent/logs"
)

//go:embed web
var web embed.FS

// maxChoices is how many different values a column may have to be offered as a
// list to choose from.
const maxChoices = 40

// pages renders the two pages. Style and script are inline, allowed by a nonce,
// and nothing is fetched from elsewhere.
type pages struct {
	html   *template.Template
	style  template.CSS
	script template.JS
}

func newPages() (*pages, error) {
	html, err := template.ParseFS(web, "web/pages.html")
	if err != nil {
		return nil, fmt.Errorf("parse pages: %w", err)
	}
	style, err := web.ReadFile("web/style.css")
	if err != nil {
		return nil, fmt.Errorf("read style: %w", err)
	}
	script, err := web.ReadFile("web/script.js")
	if err != nil {
		return nil, fmt.Errorf("read script: %w", err)
	}
	return &pages{html, template.CSS(style), template.JS(script)}, nil
}

// frame is what both pages show.
type frame struct {
	Title  string
	Nonce  string
	Style  template.CSS
	Script template.JS
	Seat   seat
}

// seat tells a user where they sit.
type seat struct {
	Door, DoorSession, MovedFrom string // as the front door says
	Engine, Node                 string
	Session                      string // the first characters of the engine's own
	User                         string
	Requests                     int64
}

type listPage struct {
	frame
	Keys []string
}

type documentPage struct {
	frame
	Key      string
	Rows     int // that pass
	Total    int
	Loaded   string
	Choices  []choice
	Columns  []columnHead
	Data     [][]cell
	Previous string
	Next     string
}

type choice struct {
	Column string
	Values []chosenValue
}

type chosenValue struct {
	Text   string
	Chosen bool
}

type columnHead struct {
	Name    string
	Numeric bool
	Sum     string
}

type cell struct {
	Text    string
	Numeric bool
}

func (s *Server) listPage(w http.ResponseWriter, r *http.Request) {
	keys, err := s.library.list()
	if err != nil {
		s.refuse(w, "", err)
		return
	}
	f, ok := s.frame(w, r, "Documents")
	if ok {
		s.render(w, "list", f.Nonce, listPage{f, keys})
	}
}

func (s *Server) documentPage(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	t, err := s.library.open(r.Context(), key)
	if err != nil {
		s.refuse(w, key, err)
		return
	}
	q, err := parseQuery(t, r.URL.Query())
	if err != nil {
		s.refuse(w, key, err)
		return
	}
	q.Sums = t.numeric()
	ans, err := t.Query(q)
	if err != nil {
		s.refuse(w, key, err)
		return
	}
	f, ok := s.frame(w, r, key)
	if !ok {
		return
	}
	p := documentPage{
		frame: f, Key: key, Rows: ans.Rows, Total: t.Rows, Loaded: t.Loaded.UTC().Format("2006-01-02 15:04:05Z"),
		Choices: t.choices(q.Where), Columns: make([]columnHead, len(t.Columns)), Data: make([][]cell, len(ans.Data)),
	}
	for i := range t.Columns {
		c := &t.Columns[i]
		p.Columns[i] = columnHead{c.Name, c.Numeric, ans.Sums[c.Name].String()}
	}
	for i, row := range ans.Data {
		p.Data[i] = make([]cell, len(row))
		for j, text := range row {
			p.Data[i][j] = cell{text, t.Columns[j].Numeric}
		}
	}
	if q.Offset > 0 {
		p.Previous = pageLink(r.URL.Query(), max(q.Offset-q.Limit, 0))
	}
	if q.Limit > 0 && q.Offset+q.Limit < ans.Rows {
		p.Next = pageLink(r.URL.Query(), q.Offset+q.Limit)
	}
	s.render(w, "document", f.Nonce, p)
}

func pageLink(v url.Values, offset int) string {
	v.Set("offset", strconv.Itoa(offset))
	return "?" + v.Encode()
}

// choices offers the values of every text column that has few.
func (t *Table) choices(where Selections) []choice {
	var out []choice
	for i := range t.Columns {
		c := &t.Columns[i]
		if c.Numeric || len(c.dict) < 2 || len(c.dict) > maxChoices {
			continue
		}
		ch := choice{Column: c.Name}
		for _, v := range slices.Sorted(slices.Values(c.dict)) {
			ch.Values = append(ch.Values, chosenValue{v, slices.Contains(where[c.Name], v)})
		}
		out = append(out, ch)
	}
	return out
}

// frame enters the session and collects what both pages show. It reports false
// after it has answered with an error.
func (s *Server) frame(w http.ResponseWriter, r *http.Request, title string) (frame, bool) {
	ss, err := s.sessions.enter(w, r)
	if err != nil {
		s.refuse(w, title, err)
		return frame{}, false
	}
	var nonce [16]byte
	if _, err := io.ReadFull(s.o.Rand, nonce[:]); err != nil {
		s.refuse(w, title, fmt.Errorf("draw nonce: %w", err))
		return frame{}, false
	}
	h := r.Header
	return frame{
		Title: title, Nonce: hex.EncodeToString(nonce[:]), Style: s.pages.style, Script: s.pages.script,
		Seat: seat{
			Door: h.Get("X-Usher-Door"), DoorSession: h.Get("X-Usher-Session"), MovedFrom: h.Get("X-Usher-Moved-From"),
			Engine: s.o.Name, Node: s.o.Node(), Session: ss.short(), User: h.Get("X-Forwarded-User"),
			Requests: ss.touch(s.o.Now()),
		},
	}, true
}

// render writes a page in one piece, so that an error does not cut one in half.
func (s *Server) render(w http.ResponseWriter, name, nonce string, data any) {
	var b bytes.Buffer
	if err := s.pages.html.ExecuteTemplate(&b, name, data); err != nil {
		s.refuse(w, name, fmt.Errorf("render page: %w", err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+nonce+"'; script-src 'nonce-"+nonce+
		"'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	if _, err := w.Write(b.Bytes()); err != nil {
		s.log.Debug().Str(logs.Document, name).Err(err).Msg("page not written")
	}
}

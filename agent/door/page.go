package door

import (
	"encoding/json"
	"html"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// content is the body of a problem, in the form that whoever asks can read: a page for
// browsers, a problem document (RFC 9457) for programs that ask for JSON, else a line.
func (p *problem) content(r *http.Request, id string) (kind string, body []byte) {
	switch {
	case accepts(r, "text/html"):
		return "text/html; charset=utf-8", p.html(id)
	case wantsJSON(r):
		b, err := json.Marshal(struct {
			Title     string `json:"title"`
			Status    int    `json:"status"`
			Code      string `json:"code"`
			RequestID string `json:"request_id"`
		}{p.Title, p.Status, p.Code, id})
		if err == nil {
			return "application/problem+json", append(b, '\n')
		}
	}
	return "text/plain; charset=utf-8", []byte(p.Title + "\nRequest " + id + "\n")
}

// html is a small page that needs nothing from anywhere.
func (p *problem) html(id string) []byte {
	var b strings.Builder
	b.WriteString("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>")
	status := html.EscapeString(http.StatusText(p.Status))
	b.WriteString(status)
	b.WriteString(`</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 32em; margin: 4em auto; padding: 0 1em; color: #222; background: #fff }
small { color: #666 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } small { color: #aaa } }
</style>
<h1>`)
	b.WriteString(status)
	b.WriteString("</h1>\n<p>")
	b.WriteString(html.EscapeString(p.Title))
	b.WriteString("</p>\n")
	if p.retry > 0 {
		b.WriteString("<p><a href=\"\">Try again</a></p>\n")
	}
	b.WriteString("<p><small>Request ")
	b.WriteString(html.EscapeString(id))
	b.WriteString("</small></p>\n</html>\n")
	return []byte(b.String())
}

// write sends the problem.
func (p *problem) write(w http.ResponseWriter, r *http.Request, id string) int {
	h := w.Header()
	h.Set(fieldError, p.Code)
	h.Set(fieldRequestID, id)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if p.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int((p.retry+time.Second-1)/time.Second)))
	}
	switch {
	case p.Status == http.StatusMethodNotAllowed: // RFC 9110 15.5.6
		h.Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	case p == problemVersion: // RFC 6455 4.4 and RFC 9110 15.5.22
		h.Set("Sec-WebSocket-Version", "13")
		h.Set("Upgrade", "websocket")
		h.Set("Connection", "Upgrade")
	}
	kind, body := p.content(r, id)
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that has gone is noticed by its connection
	}
	return len(body)
}

// wantsJSON reports whether a program is asking.
func wantsJSON(r *http.Request) bool { return accepts(r, "json") && !accepts(r, "text/html") }

// accepts reports whether a word, in lower case, stands in the Accept fields.
func accepts(r *http.Request, word string) bool {
	return strings.Contains(strings.ToLower(strings.Join(r.Header["Accept"], ",")), word)
}

package builtin

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/ushercluster/usher/agent/engine"
	"github.com/ushercluster/usher/agent/logs"
)

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.user(s.listPage))
	mux.HandleFunc("GET /doc/{key}", s.user(s.documentPage))
	mux.HandleFunc("GET /doc/{key}/{$}", s.user(s.documentPage))
	mux.HandleFunc("GET /doc/{key}/api/query", s.user(s.query))
	mux.HandleFunc("GET /doc/{key}/ws", s.user(s.webSocket))
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /counters", s.counters)
	mux.HandleFunc("GET "+engine.DefaultPrefix+"load", s.guarded(s.load))
	mux.HandleFunc("POST "+engine.DefaultPrefix+"reload", s.guarded(s.reload))
	return mux
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.life.ctx.Err() != nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, errClosed.Error(), http.StatusServiceUnavailable)
		return
	}
	s.sessions.sweep()
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	s.mux.ServeHTTP(w, r)
}

// user counts requests that people make.
func (s *Server) user(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		h(w, r)
	}
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

func (s *Server) counters(w http.ResponseWriter, _ *http.Request) { s.writeJSON(w, s.Counters()) }

func (s *Server) writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.log.Debug().Err(err).Msg("answer not written")
	}
}

// problem answers with an RFC 9457 document.
func (s *Server) problem(w http.ResponseWriter, p engine.Problem) {
	p.Title = http.StatusText(p.Status)
	b, err := json.Marshal(p)
	if err != nil {
		s.log.Error().Err(err).Msg("problem not encoded")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(b, '\n'))
}

// refuse answers a user whose document cannot be opened or queried.
func (s *Server) refuse(w http.ResponseWriter, key string, err error) {
	p := engine.Problem{Status: http.StatusInternalServerError, Code: engine.CodeFailed, Detail: err.Error()}
	var ce *CSVError
	switch {
	case errors.Is(err, ErrNoDocument):
		p.Status, p.Code = http.StatusNotFound, engine.CodeUnknown
	case errors.Is(err, ErrNoColumn), errors.Is(err, ErrNotNumeric), errors.Is(err, errBadQuery):
		p.Status, p.Code = http.StatusBadRequest, engine.CodeBadRequest
	case errors.As(err, &ce):
		p.Status, p.Code = http.StatusUnprocessableEntity, engine.CodeMalformed
		p.Error, p.Line, p.Column = ce.Reason, ce.Line, ce.Column
	case errors.Is(err, errTooBig), errors.Is(err, errChanged):
		p.Status, p.Code, p.Error = http.StatusUnprocessableEntity, engine.CodeMalformed, err.Error()
	case errors.Is(err, errClosed):
		p.Status = http.StatusServiceUnavailable
	default:
		s.log.Warn().Str(logs.Document, key).Err(err).Msg("document not served")
	}
	s.problem(w, p)
}

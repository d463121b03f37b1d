package builtin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/ushercluster/usher/agent/engine"
	"github.com/ushercluster/usher/agent/logs"
)

const maxReloadBody = 64 << 10

// The ways in which a reload ends early.
var (
	errSuperseded    = errors.New("a reload with a higher fencing token took its place")
	errStale         = errors.New("a higher fencing token was seen for this document")
	errRunning       = errors.New("the document is being reloaded already")
	errReloadTimeout = errors.New("the reload took longer than its timeout")
)

// guarded asks for the shared secret if there is one.
func (s *Server) guarded(h http.HandlerFunc) http.HandlerFunc {
	if s.o.SecretFile == "" {
		return h
	}
	return func(w http.ResponseWriter, r *http.Request) {
		want, err := engine.ReadSecret(s.o.SecretFile)
		if err != nil {
			s.log.Error().Err(err).Msg("engine secret unreadable")
			s.problem(w, engine.Problem{Status: http.StatusInternalServerError, Code: engine.CodeFailed})
			return
		}
		got, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want)) // equal lengths
		if subtle.ConstantTimeCompare(a[:], b[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			s.problem(w, engine.Problem{Status: http.StatusUnauthorized, Code: engine.CodeDenied,
				Detail: "the engine API asks for the shared secret"})
			return
		}
		h(w, r)
	}
}

func (s *Server) load(w http.ResponseWriter, _ *http.Request) {
	n, _ := s.sessions.count()
	rep := engine.Report{Version: 1, Sessions: n, Documents: []engine.DocumentReport{}}
	for _, d := range s.library.loaded() {
		if len(rep.Documents) < engine.MaxReportDocuments {
			rep.Documents = append(rep.Documents, engine.DocumentReport{Key: d.key, Bytes: d.current().Bytes})
		}
	}
	s.writeJSON(w, rep)
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	release, ok := s.life.hold()
	if !ok {
		s.refuse(w, "", errClosed)
		return
	}
	defer release()
	var req engine.ReloadRequest
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReloadBody))
	if err == nil {
		err = json.Unmarshal(body, &req)
	}
	if err == nil {
		err = req.Validate()
	}
	if err != nil {
		s.problem(w, engine.Problem{Status: http.StatusBadRequest, Code: engine.CodeBadRequest, Detail: err.Error()})
		return
	}
	// A reload may outlast the write timeout of the server around us; where there
	// is none to lift, so much the better. (net/http lifts the read timeout itself.)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})

	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.life.ctx, func() { cancel(errClosed) })()
	start := s.o.Now()
	t, err := s.reloadDocument(ctx, cancel, req)
	if err != nil {
		s.refuseReload(w, req, err)
		return
	}
	took := s.o.Now().Sub(start)
	s.log.Info().Str(logs.Document, req.Document).Str(logs.Task, req.Task).Int("rows", t.Rows).
		Int64(logs.Duration, took.Milliseconds()).Msg("document reloaded")
	s.writeJSON(w, engine.ReloadResult{Rows: int64(t.Rows), DurationMS: took.Milliseconds(),
		Message: fmt.Sprintf("%d rows, %d columns", t.Rows, len(t.Columns))})
}

// refuseReload answers a reload that did not succeed.
func (s *Server) refuseReload(w http.ResponseWriter, req engine.ReloadRequest, err error) {
	p := engine.Problem{Detail: err.Error()}
	switch {
	case errors.Is(err, errStale), errors.Is(err, errSuperseded):
		p.Status, p.Code = http.StatusConflict, engine.CodeStaleFence
	case errors.Is(err, errRunning):
		p.Status, p.Code = http.StatusConflict, engine.CodeRunning
	case errors.Is(err, errReloadTimeout):
		p.Status, p.Code = http.StatusGatewayTimeout, engine.CodeTimeout
	case errors.Is(err, context.Canceled): // nobody reads this
		p.Status, p.Code = http.StatusServiceUnavailable, engine.CodeAborted
	default:
		s.refuse(w, req.Document, err)
		return
	}
	s.problem(w, p)
}

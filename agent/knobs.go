package agent

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/ushercluster/usher/agent/door"
	"github.com/ushercluster/usher/agent/engine"
	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/placement"
	"github.com/ushercluster/usher/fsm"
)

// doorSettings reads the door's part of the replicated settings.
func doorSettings(v fsm.View) (*door.Settings, error) {
	strategy, err := placement.ParseStrategy(v.Text("placement.strategy"))
	if err != nil {
		return nil, err
	}
	s := &door.Settings{
		Session: door.SessionSettings{
			Scope:           door.Scope(v.Text("session.scope")),
			IdleTimeout:     v.Duration("session.idle_timeout"),
			MaxLife:         v.Duration("session.max_life"),
			SameSite:        sameSite(v.Text("session.same_site")),
			ClientKeyHeader: v.Text("door.client_key_header"),
		},
		Place: door.PlaceSettings{
			Strategy:             strategy,
			AskTimeout:           v.Duration("placement.ask_timeout"),
			FailAfter:            v.Duration("engine.fail_after"),
			NodeFailAfter:        v.Duration("node.fail_after"),
			MaxSessionsPerEngine: int(v.Int("engine.max_sessions")),
		},
		Traffic: door.TrafficSettings{
			HeadTimeout:              v.Duration("door.head_timeout"),
			BodyIdle:                 v.Duration("door.body_idle_timeout"),
			MaxBodyBytes:             v.Int("door.max_body_bytes"),
			MaxConnections:           int(v.Int("door.max_connections")),
			MaxConnectionsPerAddress: int(v.Int("door.max_connections_per_address")),
			WebSocketPing:            v.Duration("door.websocket_ping"),
			WebSocketIdle:            v.Duration("door.websocket_idle"),
		},
		HSTS:          v.Duration("door.hsts"),
		ShowNode:      v.Bool("door.show_node"),
		AccessLog:     door.Access(v.Text("door.access_log")),
		AccessSample:  int(v.Int("door.access_log_sample")),
		ShutdownDelay: v.Duration("door.shutdown_delay"),
	}
	for _, text := range v.List("door.document_patterns") {
		p, err := door.ParsePattern(text)
		if err != nil {
			return nil, fmt.Errorf("setting door.document_patterns: %w", err)
		}
		s.Session.Documents = append(s.Session.Documents, p)
	}
	for _, text := range v.List("door.trusted_networks") {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("setting door.trusted_networks: %w", err)
		}
		s.TrustedNetworks = append(s.TrustedNetworks, p)
	}
	return s, nil
}

func sameSite(s string) http.SameSite {
	switch s {
	case "strict":
		return http.SameSiteStrictMode
	case "none":
		return http.SameSiteNoneMode
	}
	return http.SameSiteLaxMode
}

func engineTiming(v fsm.View) engine.Timing {
	return engine.Timing{
		Interval:      v.Duration("engine.health_interval"),
		Timeout:       v.Duration("engine.health_timeout"),
		FailThreshold: int(v.Int("engine.health_failures")),
		PassThreshold: int(v.Int("engine.health_passes")),
		FailAfter:     v.Duration("engine.fail_after"),
	}
}

// validateSetting checks what the schema cannot: the form of patterns. Settings are
// checked before they are proposed, so that a typing mistake never reaches a door.
func validateSetting(key, value string) error {
	if key != "door.document_patterns" {
		return nil
	}
	canon, err := fsm.Canonical(key, value)
	if err != nil {
		return err
	}
	for text := range strings.SplitSeq(canon, ",") {
		if text == "" {
			continue
		}
		if _, err := door.ParsePattern(text); err != nil {
			return &fsm.Error{Code: fsm.CodeInvalid, Message: fmt.Sprintf("setting %s: %v", key, err)}
		}
	}
	return nil
}

// applySettings makes the present settings felt: in the door at its next request,
// in the engines' probes, in the log.
func (a *Agent) applySettings(v fsm.View) {
	rows := v.SettingRows()
	if a.refreshed.applied && slices.Equal(rows, a.refreshed.settings) {
		return
	}
	a.refreshed.settings, a.refreshed.applied = rows, true
	if s, err := doorSettings(v); err != nil {
		a.log.Error().Err(err).Msg("settings cannot be used; the former ones stay in force")
	} else {
		a.settings.Store(s)
	}
	for _, e := range a.engines {
		if err := e.SetTiming(engineTiming(v)); err != nil {
			a.log.Error().Err(err).Str(logs.Engine, e.Name()).Msg("engine timing cannot be used")
		}
	}
	// The level that this agent was started with holds until an operator says
	// otherwise for the whole cluster.
	if row := v.SettingRow("log.level"); row != nil && a.level != nil {
		if l, err := logs.ParseLevel(row.Value); err == nil {
			a.level.Set(l)
		}
	} else if a.level != nil {
		a.level.Set(a.startLevel)
	}
}

package door

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// write puts the claim into the fields that agents send each other.
func (c claim) write(h http.Header) {
	set := func(name, value string) {
		if value != "" {
			h[name] = []string{value}
		}
	}
	set(fieldSession, c.session.String())
	set(fieldEngine, c.engine)
	set(fieldOpen, string(c.open))
	set(fieldDocument, url.QueryEscape(c.document))
	set(fieldDoor, c.door)
	set(fieldMovedFrom, c.movedFrom)
	if c.decided != 0 {
		set(fieldDecided, strconv.FormatInt(int64(c.decided), 10))
	}
	if c.age > 0 {
		set(fieldAge, strconv.FormatInt(int64(c.age/time.Second), 10))
	}
	if c.client.IsValid() {
		set(fieldClient, c.client.String())
	}
}

// readClaim reads what write wrote.
func readClaim(h http.Header) (claim, error) {
	c := claim{
		engine: h.Get(fieldEngine), open: opening(h.Get(fieldOpen)),
		door: h.Get(fieldDoor), movedFrom: h.Get(fieldMovedFrom),
	}
	switch c.open {
	case "", openNew, openMove, openKey:
	default:
		return c, fmt.Errorf("claim opens by %q", c.open)
	}
	if !peer.ValidName(c.engine) {
		return c, errors.New("claim names no engine")
	}
	var err error
	if c.session, err = ParseSessionID(h.Get(fieldSession)); err != nil {
		return c, err
	}
	if c.document, err = url.QueryUnescape(h.Get(fieldDocument)); err != nil {
		return c, fmt.Errorf("claim's document: %w", err)
	}
	if s := h.Get(fieldAge); s != "" {
		if c.age, err = readAge(s); err != nil {
			return c, err
		}
	}
	if s := h.Get(fieldDecided); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return c, fmt.Errorf("claim's decision: %w", err)
		}
		c.decided = stamp(n)
	}
	if s := h.Get(fieldClient); s != "" {
		if c.client, err = netip.ParseAddr(s); err != nil {
			return c, fmt.Errorf("claim's client: %w", err)
		}
	}
	return c, nil
}

// maxAge is beyond what any setting allows: session.max_life is a month at most.
const maxAge = 10 * 365 * 24 * time.Hour

// readAge reads how old a session is.
func readAge(s string) (time.Duration, error) {
	seconds, err := strconv.ParseInt(s, 10, 64)
	if err != nil || seconds < 0 || seconds > int64(maxAge/time.Second) {
		return 0, fmt.Errorf("claim's age %q is no number of seconds", s)
	}
	return time.Duration(seconds) * time.Second, nil
}

// tell sets the fields by which the engine learns of its session.
func (c claim) tell(h http.Header) {
	dropUsher(h)
	h[fieldSession] = []string{c.session.Short()}
	if c.door != "" {
		h[fieldDoor] = []string{c.door}
	}
	if c.movedFrom != "" {
		h[fieldMovedFrom] = []string{c.movedFrom}
	}
}

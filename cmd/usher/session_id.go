package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ushercluster/usher/agent/admin"
)

// Digits of a session's ID. Pages and engines show the first half.
const (
	sessionDigits = 32
	sessionLeast  = 8
	sessionsShown = 10 // of those that begin alike
)

// sessionID is the ID that the word stands for: all of its digits, or a beginning that
// no other session has.
func (c *call) sessionID(word string) (string, error) {
	word = strings.ToLower(word)
	if len(word) < sessionLeast || len(word) > sessionDigits || strings.Trim(word, "0123456789abcdef") != "" {
		return "", usage("usher session list shows them", "%q is no session: give at least %d of the %d digits (0-9, a-f) of its ID", word, sessionLeast, sessionDigits)
	}
	if len(word) == sessionDigits {
		return word, nil
	}
	l, err := listAll(c, filtered(c.api.Sessions, admin.SessionFilter{}))
	if err != nil {
		return "", err
	}
	found := beginning(l.Items, word)
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		more := ""
		if len(found) > sessionsShown {
			found, more = found[:sessionsShown], ", ..."
		}
		return "", failed("give more digits", "several sessions begin with %s: %s%s", word, strings.Join(found, ", "), more)
	case len(l.Missing) > 0:
		var names []string
		for _, n := range l.Missing {
			names = append(names, nodeName(n))
		}
		return "", &failure{exitUnreachable, fmt.Errorf("no node that answered has a session that begins with %s; no answer from %s", word, strings.Join(names, ", ")), "try again when they are back"}
	}
	return "", failed("usher session list shows them", "there is no session that begins with %s", word)
}

// beginning are the different IDs that begin with word: a session that has just moved
// may be in two lists.
func beginning(all []admin.Session, word string) []string {
	var ids []string
	for _, s := range all {
		if strings.HasPrefix(s.ID, word) {
			ids = append(ids, s.ID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

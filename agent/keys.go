package agent

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/ushercluster/usher/agent/door"
	"github.com/ushercluster/usher/fsm"
)

// refreshKeys opens the cookie keys of the state, the newest first.
func (a *Agent) refreshKeys(v fsm.View) {
	rows := v.Secrets(secretCookieKey)
	if a.keysAt == v.Revision() && a.keys.Load() != nil {
		return
	}
	var ring []door.Key
	for _, row := range rows {
		id, err := strconv.ParseUint(strings.TrimPrefix(row.Name, secretCookieKey), 10, 64)
		if err != nil {
			continue // not one of ours
		}
		plain, err := a.vault.openRow(v, row)
		if err != nil || len(plain) != 32 {
			a.log.Error().Err(err).Str("secret", row.Name).Msg("cookie key cannot be opened")
			continue
		}
		ring = append(ring, door.Key{ID: id, Key: [32]byte(plain)})
	}
	slices.SortFunc(ring, func(x, y door.Key) int { return cmp.Compare(y.ID, x.ID) })
	a.keysAt = v.Revision()
	a.keys.Store(&ring)
}

package agent

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/ushercluster/usher/agent/door"
	"github.com/ushercluster/usher/fsm"
)

// refreshed are the rows that the door's settings and keys were last made from. Rows
// of the state never change, a new one takes their place: the same pointers are the
// same content.
type refreshed struct {
	settings   []*fsm.Setting
	applied    bool // settings were applied at all
	cookieKeys []*fsm.Secret
	dataKeys   []*fsm.DataKey
}

// refreshKeys opens the cookie keys of the state, the newest first.
func (a *Agent) refreshKeys(v fsm.View) {
	rows, dataKeys := v.Secrets(secretCookieKey), v.DataKeys()
	last := &a.refreshed
	if a.keys.Load() != nil && slices.Equal(rows, last.cookieKeys) && slices.Equal(dataKeys, last.dataKeys) {
		return
	}
	last.cookieKeys, last.dataKeys = rows, dataKeys
	var ring []door.Key
	for _, row := range rows {
		id, err := strconv.ParseUint(strings.TrimPrefix(row.Name, secretCookieKey), 10, 64)
		if err != nil {
			continue // not one of ours
		}
		plain, err := a.vault.openRow(v, row)
		if errors.Is(err, errNoCopy) { // of a node that has just joined; the next change brings it
			a.log.Info().Str("secret", row.Name).Msg("cookie key is not for this node yet")
			continue
		}
		if err != nil || len(plain) != 32 {
			a.log.Error().Err(err).Str("secret", row.Name).Msg("cookie key cannot be opened")
			continue
		}
		ring = append(ring, door.Key{ID: id, Key: [32]byte(plain)})
	}
	slices.SortFunc(ring, func(x, y door.Key) int { return cmp.Compare(y.ID, x.ID) })
	a.keys.Store(&ring)
}

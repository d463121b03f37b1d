package agent

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// errNoCopy means that the central node has not wrapped a data key for this node.
var errNoCopy = errors.New("no copy of it for this node")

// Names of the sealed secrets.
const (
	secretCAKey     = "ca-key"
	secretCookieKey = "cookie-key/" // and a number of four digits; the highest seals
)

// vault opens the sealed secrets of the replicated state with this server's own
// key. Opened data keys stay in memory. Safe for concurrent use.
type vault struct {
	self peer.ID
	key  identity.SealKey
	mu   sync.Mutex
	open map[uint64]identity.DataKey
}

func newVault(self peer.ID, key identity.SealKey) *vault {
	return &vault{self: self, key: key, open: map[uint64]identity.DataKey{}}
}

func wrapInfo(keyID uint64) string { return fmt.Sprintf("usher data-key %d", keyID) }

// dataKey opens this node's copy of a data key.
func (v *vault) dataKey(row *fsm.DataKey) (identity.DataKey, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if dk, ok := v.open[row.ID]; ok {
		return dk, nil
	}
	for _, w := range row.Wraps {
		if w.Node != v.self {
			continue
		}
		dk, err := v.key.Unwrap(w.Sealed, wrapInfo(row.ID))
		if err != nil {
			return identity.DataKey{}, fmt.Errorf("open data key %d: %w", row.ID, err)
		}
		v.open[row.ID] = dk
		return dk, nil
	}
	return identity.DataKey{}, fmt.Errorf("open data key %d: %w", row.ID, errNoCopy)
}

// secret opens one secret.
func (v *vault) secret(view fsm.View, name string) ([]byte, error) {
	row := view.Secret(name)
	if row == nil {
		return nil, fmt.Errorf("open secret %s: not in the state", name)
	}
	return v.openRow(view, row)
}

func (v *vault) openRow(view fsm.View, row *fsm.Secret) ([]byte, error) {
	for _, k := range view.DataKeys() {
		if k.ID != row.KeyID {
			continue
		}
		dk, err := v.dataKey(k)
		if err != nil {
			return nil, fmt.Errorf("open secret %s: %w", row.Name, err)
		}
		plain, err := dk.Open(row.Name, row.Sealed)
		if err != nil {
			return nil, fmt.Errorf("open secret %s: %w", row.Name, err)
		}
		return plain, nil
	}
	return nil, fmt.Errorf("open secret %s: data key %d is not in the state", row.Name, row.KeyID)
}

// wrapsFor copies every data key for another server.
func (v *vault) wrapsFor(view fsm.View, node peer.ID, sealKey []byte) ([]fsm.KeyWrap, error) {
	var out []fsm.KeyWrap
	for _, k := range view.DataKeys() {
		dk, err := v.dataKey(k)
		if err != nil {
			return nil, err
		}
		sealed, err := identity.Wrap(sealKey, dk, wrapInfo(k.ID))
		if err != nil {
			return nil, fmt.Errorf("wrap data key %d: %w", k.ID, err)
		}
		out = append(out, fsm.KeyWrap{KeyID: k.ID, Wrap: fsm.Wrap{Node: node, Sealed: sealed}})
	}
	return out, nil
}

// ca opens the cluster's signing key.
func (v *vault) ca(view fsm.View) (*identity.CA, error) {
	cluster := view.Cluster()
	if cluster == nil || len(cluster.Roots) == 0 {
		return nil, fsm.ErrNoState
	}
	key, err := v.secret(view, secretCAKey)
	if err != nil {
		return nil, err
	}
	return identity.ParseCA(cluster.Roots[0], key)
}

// seal makes the row of a secret under a data key.
func seal(dk identity.DataKey, keyID uint64, name string, plain []byte) (fsm.Secret, error) {
	sealed, err := dk.Seal(rand.Reader, name, plain)
	if err != nil {
		return fsm.Secret{}, fmt.Errorf("seal %s: %w", name, err)
	}
	return fsm.Secret{Name: name, KeyID: keyID, Sealed: sealed}, nil
}

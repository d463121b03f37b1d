package agent

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/ushercluster/usher/agent/backup"
	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/fsm"
)

// The content of a snapshot's file is the data keys, which on the servers' disks exist
// wrapped for each server only, and the state:
//
//	length(4) JSON of sealedKeys, fsm.Snapshot
//
// With both, whoever holds the recovery key can open every secret without any server.

// snapshotSeal is what a file's key is sealed to the recovery key for.
const snapshotSeal = "snapshot"

const maxKeyRing = 1 << 20

// keyRing is the data keys by number.
type keyRing struct {
	Keys map[uint64][]byte `json:"keys"`
}

// writeSnapshot writes the state as this node has it, with its keys, sealed to the recovery
// key. confirmed says that a majority has confirmed that it is the newest.
func (a *Agent) writeSnapshot(w io.Writer, confirmed bool) error {
	fail := func(err error) error { return fmt.Errorf("write snapshot: %w", err) }
	state, err := a.fsm.Snapshot()
	if err != nil {
		return fail(err)
	}
	v := state.View()
	cluster := v.Cluster()
	if cluster == nil {
		return fail(fsm.ErrNoState)
	}
	ring, err := a.vault.ring(v)
	if err != nil {
		return fail(err)
	}
	h := backup.Header{
		ClusterID: cluster.UUID, ClusterName: cluster.Name, Revision: v.Revision(), AsOf: v.At(), Taken: a.now().UTC(),
		Node: a.nodeName(), Version: a.opts.Version, FeatureLevel: cluster.FeatureLevel, Unconfirmed: !confirmed, Rows: v.Rows(),
	}
	out, err := backup.NewWriter(w, h, rand.Reader, func(key []byte) ([]byte, error) {
		return identity.SealTo(cluster.RecoveryPublic, snapshotSeal, key)
	})
	if err != nil {
		return fail(err)
	}
	if _, err := out.Write(ring); err != nil {
		return fail(err)
	}
	if _, err := state.WriteTo(out); err != nil {
		return fail(err)
	}
	if err := out.Close(); err != nil {
		return fail(err)
	}
	return nil
}

// ring is the beginning of a snapshot's content.
func (v *vault) ring(view fsm.View) ([]byte, error) {
	r := keyRing{Keys: map[uint64][]byte{}}
	for _, k := range view.DataKeys() {
		dk, err := v.dataKey(k)
		if err != nil {
			return nil, err
		}
		r.Keys[k.ID] = dk[:]
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...), nil
}

// Snapshot is what a file holds, opened with the recovery key.
type Snapshot struct {
	Header backup.Header
	State  *fsm.FSM
	keys   map[uint64]identity.DataKey
}

// Errors of a snapshot: see also those of package backup.
var (
	// ErrRecoveryKey means that the recovery key is not the one of the snapshot's cluster.
	ErrRecoveryKey = errors.New("the recovery key does not open this snapshot: it is another cluster's")
	// ErrTooNew means that this usher does not know all that the snapshot may hold.
	ErrTooNew = errors.New("the snapshot is of a cluster with a newer feature level: upgrade usher first")
)

// OpenSnapshot reads a snapshot to its end.
func OpenSnapshot(from io.Reader, key identity.RecoveryKey) (*Snapshot, error) {
	r, err := backup.NewReader(from)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{Header: r.Header(), State: fsm.New(fsm.Options{}), keys: map[uint64]identity.DataKey{}}
	err = r.Unlock(func(sealed []byte) ([]byte, error) { return key.Open(snapshotSeal, sealed) })
	switch {
	case errors.Is(err, identity.ErrSealed):
		return nil, ErrRecoveryKey
	case err != nil:
		return nil, err
	case s.Header.FeatureLevel > fsm.FeatureLevel:
		return nil, ErrTooNew
	}
	if err := s.readKeys(r); err != nil {
		return nil, err
	}
	if err := s.State.Restore(r); err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil { // its end vouches for all of it
		return nil, err
	}
	return s, nil
}

func (s *Snapshot) readKeys(r io.Reader) error {
	var n [4]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return damaged(err)
	}
	size := binary.BigEndian.Uint32(n[:])
	if size > maxKeyRing {
		return fmt.Errorf("%w: keys of %d bytes", backup.ErrDamaged, size)
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		return damaged(err)
	}
	var ring keyRing
	if err := json.Unmarshal(text, &ring); err != nil {
		return damaged(err)
	}
	for id, k := range ring.Keys {
		if len(k) != len(identity.DataKey{}) {
			return fmt.Errorf("%w: a data key of %d bytes", backup.ErrDamaged, len(k))
		}
		s.keys[id] = identity.DataKey(k)
	}
	return nil
}

// secrets are the state's, sealed anew, without the one that is a new cluster's own.
func (s *Snapshot) secrets(dk identity.DataKey, keyID uint64) ([]fsm.Secret, error) {
	var out []fsm.Secret
	for _, row := range s.State.View().Secrets("") {
		if row.Name == secretCAKey {
			continue
		}
		old, ok := s.keys[row.KeyID]
		if !ok {
			return nil, fmt.Errorf("secret %s is sealed with data key %d, which the snapshot does not hold", row.Name, row.KeyID)
		}
		plain, err := old.Open(row.Name, row.Sealed)
		if err != nil {
			return nil, err
		}
		again, err := seal(dk, keyID, row.Name, plain)
		if err != nil {
			return nil, err
		}
		out = append(out, again)
	}
	return out, nil
}

// Snapshot implements admin.Backend.
func (b backend) Snapshot(w io.Writer, confirmed bool) error {
	return b.writeSnapshot(w, confirmed)
}

// damaged says of what is read from a snapshot that it is none, unless the reader did.
func damaged(err error) error {
	if errors.Is(err, backup.ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", backup.ErrDamaged, err)
}

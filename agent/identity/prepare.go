package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// pendingFile is join.pending.
type pendingFile struct {
	Version int       `json:"version"`
	TokenID string    `json:"token_id"`
	Since   time.Time `json:"since"`
}

// Prepare makes the node's ID and keys, or loads those of an earlier try, so that
// every try sends the same request, and a token counts one machine however often an
// answer is lost. tokenID is the join token that will be used, "" when founding a
// cluster. Everything is on disk when Prepare returns. Where there is an identity it
// returns ErrHasIdentity.
func (d *Dir) Prepare(tokenID string, now time.Time) (Pending, error) {
	_, err := readFile(d.path, fileCert, false)
	if err == nil {
		return Pending{}, fmt.Errorf("prepare identity in %s: %w", d.path, ErrHasIdentity)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return Pending{}, fmt.Errorf("prepare identity: %w", err)
	}
	p := Pending{TokenID: tokenID, Since: now}
	if p.ID, err = loadOrMake(d, fileID, parseID, drawID); err != nil {
		return Pending{}, err
	}
	if p.Key, err = loadOrMake(d, fileKey, parseNodeKey, drawKey); err != nil {
		return Pending{}, err
	}
	if p.SealKey, err = loadOrMake(d, fileSealKey, parseSealKey, drawSealKey); err != nil {
		return Pending{}, err
	}
	if tokenID == "" {
		return p, nil
	}
	return d.remember(p)
}

// remember writes join.pending, and keeps the time of the first try.
func (d *Dir) remember(p Pending) (Pending, error) {
	var old pendingFile
	text, err := readFile(d.path, filePending, true)
	if err == nil {
		if err := json.Unmarshal(text, &old); err != nil {
			return Pending{}, fmt.Errorf("prepare identity: %w", &FileError{d.file(filePending), err})
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Pending{}, fmt.Errorf("prepare identity: %w", err)
	}
	if old.TokenID == p.TokenID {
		p.Since = old.Since
		return p, nil
	}
	text, err = json.Marshal(pendingFile{Version: 1, TokenID: p.TokenID, Since: p.Since.UTC()})
	if err != nil {
		return Pending{}, fmt.Errorf("prepare identity: %w", err)
	}
	if err := writeFile(d.path, filePending, append(text, '\n')); err != nil {
		return Pending{}, fmt.Errorf("prepare identity: %w", err)
	}
	return p, nil
}

// loadOrMake reads a file, or writes a new one and uses that.
func loadOrMake[T any](d *Dir, name string, parse func([]byte) (T, error), draw func() ([]byte, error)) (T, error) {
	var zero T
	text, err := readFile(d.path, name, name != fileID)
	if errors.Is(err, fs.ErrNotExist) {
		if text, err = draw(); err == nil {
			err = writeFile(d.path, name, text)
		}
	}
	if err != nil {
		return zero, fmt.Errorf("prepare identity: %w", err)
	}
	v, err := parse(text)
	if err != nil {
		return zero, fmt.Errorf("prepare identity: %w", &FileError{d.file(name), err})
	}
	return v, nil
}

func drawID() ([]byte, error) {
	id, err := peer.NewID(rand.Reader)
	return idText(id), err
}

func drawKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("draw node key: %w", err)
	}
	return pemPrivate(crypto.Signer(key))
}

func drawSealKey() ([]byte, error) {
	key, err := NewSealKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return pemPrivate(key.key())
}

package backup

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

const (
	magic     = "USHERSNP"
	version   = 1
	maxHeader = 64 << 10
	maxKey    = 1 << 10
	chunkSize = 64 << 10
	fileKey   = 32
)

// Errors of reading; errors.Is tells them apart.
var (
	// ErrNoSnapshot means that the file is something else.
	ErrNoSnapshot = errors.New("this is no snapshot of usher")
	// ErrNewer means that a later version of usher wrote the file.
	ErrNewer = errors.New("the snapshot is of a newer version of usher: upgrade this one")
	// ErrDamaged means that the file is cut off or was changed.
	ErrDamaged = errors.New("the snapshot is damaged")
)

// Header is what a file says of itself in the clear. It is authenticated: a file opens
// with the header that it was written with only.
type Header struct {
	ClusterID   string    `json:"cluster_id"`
	ClusterName string    `json:"cluster_name"`
	Revision    uint64    `json:"revision"` // of the state in it
	AsOf        time.Time `json:"as_of"`    // of the last command before
	Taken       time.Time `json:"taken"`
	Node        string    `json:"node"` // that took it, by name
	Version     string    `json:"version"`
	// FeatureLevel is that of the cluster: an usher that knows less cannot restore it.
	FeatureLevel uint32 `json:"feature_level"`
	// Unconfirmed means that no majority said whether the state was the newest.
	Unconfirmed bool           `json:"unconfirmed,omitempty"`
	Rows        map[string]int `json:"rows"` // by table
}

// prelude is everything before the chunks.
func prelude(h Header, sealedKey []byte) ([]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode header: %w", err)
	}
	if len(text) > maxHeader || len(sealedKey) > maxKey {
		return nil, fmt.Errorf("encode header: %d and %d bytes are too many", len(text), len(sealedKey))
	}
	b := append([]byte(magic), version)
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	b = append(b, text...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(sealedKey)))
	return append(b, sealedKey...), nil
}

// sealer encrypts or decrypts chunks in order.
type sealer struct {
	aead cipher.AEAD
	bind [sha256.Size]byte // of the prelude
	n    uint64
}

func newSealer(key, prelude []byte) (*sealer, error) {
	if len(key) != fileKey {
		return nil, fmt.Errorf("a snapshot's key has %d bytes, not %d", fileKey, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &sealer{aead: aead, bind: sha256.Sum256(prelude)}, nil
}

// nonce is that of the next chunk.
func (s *sealer) nonce(last bool) []byte {
	b := make([]byte, 3, 12)
	b = binary.BigEndian.AppendUint64(b, s.n)
	s.n++
	if last {
		return append(b, 1)
	}
	return append(b, 0)
}

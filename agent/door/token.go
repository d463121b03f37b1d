package door

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// token is what a session cookie says.
//
//	version | key ID | nonce | AES-256-GCM( session | issued | moves | engine ID ) | tag
//	   1        8       12                    16        8        4      18..80       16
//
// The cookie's name is authenticated with it, so that the cookie of one document
// does not pass for that of another.
type token struct {
	session SessionID
	engine  peer.EngineID
	issued  time.Time // whole seconds
	moves   uint32    // how often the session has moved: puts its cookies into order
}

const (
	tokenVersion  = 2
	tokenHead     = 1 + 8
	tokenNonce    = 12
	tokenTag      = 16
	tokenFixed    = 16 + 8 + 4
	maxEngineID   = 16 + 1 + 63
	maxTokenBytes = tokenHead + tokenNonce + tokenFixed + maxEngineID + tokenTag
	maxTokenText  = (maxTokenBytes*4 + 2) / 3
)

// Why a cookie is not taken. Users are told nothing of it.
var (
	errTokenForm = errors.New("token is malformed")
	errTokenKey  = errors.New("token is sealed with an unknown key")
	errTokenSeal = errors.New("token's seal is broken")
	errNoKeys    = errors.New("no key to seal tokens with")
)

// sealer seals and opens tokens with the newest key ring.
type sealer struct {
	keys   func() []Key
	random io.Reader

	mu   sync.Mutex
	ring []Key         // what aead was made from
	aead []cipher.AEAD // one per key
}

// ready reports whether there is a key.
func (s *sealer) ready() bool { return len(s.keys()) > 0 }

func (s *sealer) current() ([]Key, []cipher.AEAD, error) {
	ring := s.keys()
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(ring, s.ring) {
		return s.ring, s.aead, nil
	}
	aeads := make([]cipher.AEAD, len(ring))
	for i := range ring {
		block, err := aes.NewCipher(ring[i].Key[:])
		if err != nil {
			return nil, nil, fmt.Errorf("make cipher of key %d: %w", ring[i].ID, err)
		}
		if aeads[i], err = cipher.NewGCM(block); err != nil {
			return nil, nil, fmt.Errorf("make cipher of key %d: %w", ring[i].ID, err)
		}
	}
	s.ring, s.aead = slices.Clone(ring), aeads
	return s.ring, s.aead, nil
}

// seal returns the text of t for the cookie of that name.
func (s *sealer) seal(name string, t token) (string, error) {
	ring, aeads, err := s.current()
	if err != nil {
		return "", err
	}
	if len(ring) == 0 {
		return "", errNoKeys
	}
	b := make([]byte, tokenHead+tokenNonce, maxTokenBytes)
	b[0] = tokenVersion
	binary.BigEndian.PutUint64(b[1:], ring[0].ID)
	if _, err := io.ReadFull(s.random, b[tokenHead:]); err != nil {
		return "", fmt.Errorf("draw nonce: %w", err)
	}
	plain := make([]byte, 0, tokenFixed+maxEngineID)
	plain = append(plain, t.session[:]...)
	plain = binary.BigEndian.AppendUint64(plain, uint64(t.issued.Unix()))
	plain = binary.BigEndian.AppendUint32(plain, t.moves)
	plain = append(plain, t.engine...)
	b = aeads[0].Seal(b, b[tokenHead:], plain, []byte(name))
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// open reads the text of a cookie of that name.
func (s *sealer) open(name, text string) (token, error) {
	if len(text) > maxTokenText {
		return token{}, errTokenForm
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < tokenHead+tokenNonce+tokenFixed+tokenTag || b[0] != tokenVersion {
		return token{}, errTokenForm
	}
	ring, aeads, err := s.current()
	if err != nil {
		return token{}, err
	}
	id := binary.BigEndian.Uint64(b[1:])
	at := slices.IndexFunc(ring, func(k Key) bool { return k.ID == id })
	if at < 0 {
		return token{}, errTokenKey
	}
	nonce, sealed := b[tokenHead:tokenHead+tokenNonce], b[tokenHead+tokenNonce:]
	plain, err := aeads[at].Open(sealed[:0], nonce, sealed, []byte(name))
	if err != nil {
		return token{}, errTokenSeal
	}
	t := token{
		session: SessionID(plain[:16]),
		issued:  time.Unix(int64(binary.BigEndian.Uint64(plain[16:])), 0),
		moves:   binary.BigEndian.Uint32(plain[24:]),
		engine:  peer.EngineID(plain[tokenFixed:]),
	}
	if !t.engine.Valid() {
		return token{}, errTokenForm
	}
	return t, nil
}

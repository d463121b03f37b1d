package identity

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ushercluster/usher/agent/durable"
	"github.com/ushercluster/usher/agent/peer"
)

// The node files in a data directory.
const (
	fileID      = "node.id"      // text
	fileKey     = "node.key"     // PEM, PKCS #8
	fileCert    = "node.crt"     // PEM: leaf, then CA; its presence is the identity
	fileCA      = "ca.pem"       // PEM: trusted CAs
	fileSealKey = "seal.key"     // PEM, PKCS #8
	filePending = "join.pending" // JSON: what was asked
)

// ErrNoIdentity means that a data directory holds no identity yet: nobody joined,
// or a join was not finished.
var ErrNoIdentity = errors.New("this data directory holds no node identity")

// ErrHasIdentity means that a data directory belongs to a node already.
var ErrHasIdentity = errors.New("this data directory belongs to a node already")

// Dir is a data directory's node files. It holds nothing open. Whoever writes must
// hold the Lock; methods are not safe for concurrent use.
type Dir struct{ path string }

// OpenDir opens a data directory. It makes a missing one with mode 0700, takes an
// empty one over by setting that mode, and refuses one that others may enter, or in
// which others may read a secret, with a ModeError.
func OpenDir(path string) (*Dir, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := makeDir(path); err != nil {
			return nil, fmt.Errorf("make data directory: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("open data directory: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("open data directory: %s is not a directory", path)
	case looseMode(info.Mode()):
		if err := tighten(path, info.Mode()); err != nil {
			return nil, fmt.Errorf("open data directory: %w", err)
		}
	}
	d := &Dir{path}
	for _, name := range []string{fileKey, fileSealKey, filePending} {
		info, err := os.Stat(d.file(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open data directory: %w", err)
		}
		if looseMode(info.Mode()) {
			return nil, fmt.Errorf("open data directory: %w", &ModeError{d.file(name), info.Mode().Perm(), 0o600})
		}
	}
	return d, nil
}

func makeDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// tighten closes an empty directory to others, as packages and container volumes
// make them. What holds files already is somebody's decision to look at.
func tighten(path string, mode fs.FileMode) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	if len(entries) > 0 || os.Chmod(path, 0o700) != nil {
		return &ModeError{path, mode.Perm(), 0o700}
	}
	return nil
}

// Path is the directory's path as it was given.
func (d *Dir) Path() string { return d.path }

func (d *Dir) file(name string) string { return filepath.Join(d.path, name) }

// Load reads the identity. Without one it returns ErrNoIdentity; a damaged or
// missing file, or files that do not belong together, are a FileError.
func (d *Dir) Load() (Node, error) {
	text, err := readFile(d.path, fileCert, false)
	if errors.Is(err, fs.ErrNotExist) {
		return Node{}, ErrNoIdentity
	}
	if err != nil {
		return Node{}, fmt.Errorf("load node certificate: %w", err)
	}
	chain, err := parsePEM(text, pemCert)
	if err != nil {
		return Node{}, fmt.Errorf("load node certificate: %w", &FileError{d.file(fileCert), err})
	}
	p, err := d.loadPending()
	if err != nil {
		return Node{}, err
	}
	roots, err := load(d, fileCA, false, func(text []byte) ([][]byte, error) { return parsePEM(text, pemCert) })
	if err != nil {
		return Node{}, err
	}
	n, err := p.Node(chain, roots)
	if err != nil {
		return Node{}, fmt.Errorf("load node files: %w", &FileError{d.file(fileCert), fmt.Errorf("it does not belong to the files beside it: %w", err)})
	}
	return n, nil
}

// loadPending reads ID and keys, all of which must be there.
func (d *Dir) loadPending() (Pending, error) {
	id, err := load(d, fileID, false, parseID)
	if err != nil {
		return Pending{}, err
	}
	key, err := load(d, fileKey, true, parseNodeKey)
	if err != nil {
		return Pending{}, err
	}
	sealKey, err := load(d, fileSealKey, true, parseSealKey)
	if err != nil {
		return Pending{}, err
	}
	return Pending{ID: id, Key: key, SealKey: sealKey}, nil
}

// Save writes the identity. The certificate is written last, and one that would not
// fit what is written before it is removed first: a save that was cut short is "no
// identity" or the old one, never a mixture.
func (d *Dir) Save(n Node) error {
	if _, err := n.check(); err != nil {
		return fmt.Errorf("save node files: %w", err)
	}
	key, err := pemPrivate(n.Key)
	if err != nil {
		return fmt.Errorf("save node files: %w", err)
	}
	sealKey, err := pemPrivate(n.SealKey.key())
	if err != nil {
		return fmt.Errorf("save node files: %w", err)
	}
	var roots [][]byte
	for _, r := range n.Roots {
		roots = append(roots, r.Raw)
	}
	if err := d.removeMisfit(n); err != nil {
		return fmt.Errorf("save node files: %w", err)
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{
		{fileID, idText(n.Identity.ID)}, {fileKey, key}, {fileSealKey, sealKey},
		{fileCA, pemCerts(roots)}, {fileCert, pemCerts(n.Chain)},
	} {
		if err := d.replace(f.name, f.content); err != nil {
			return fmt.Errorf("save node files: %w", err)
		}
	}
	if err := removeFile(d.path, filePending); err != nil {
		return fmt.Errorf("save node files: %w", err)
	}
	return nil
}

// removeMisfit removes the present certificate unless it would be valid beside the
// other files of n.
func (d *Dir) removeMisfit(n Node) error {
	text, err := readFile(d.path, fileCert, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		var chain [][]byte
		if chain, err = parsePEM(text, pemCert); err == nil {
			old := n
			old.Chain = chain
			_, err = old.check()
		}
	}
	if err == nil {
		return nil
	}
	return removeFile(d.path, fileCert)
}

// replace writes a file unless it has that content and the right mode already.
func (d *Dir) replace(name string, content []byte) error {
	if old, err := readFile(d.path, name, true); err == nil && bytes.Equal(old, content) {
		return nil
	}
	return writeFile(d.path, name, content)
}

// Purge removes the node files and nothing else. The certificate goes first, so
// that a purge that was cut short has ended the identity too.
func (d *Dir) Purge() error {
	for _, name := range []string{fileCert, filePending, fileKey, fileSealKey, fileCA, fileID} {
		if err := errors.Join(removeFile(d.path, name), removeFile(d.path, name+tempSuffix)); err != nil {
			return fmt.Errorf("purge node files: %w", err)
		}
	}
	return nil
}

// load reads and parses a file that must be there.
func load[T any](d *Dir, name string, secret bool, parse func([]byte) (T, error)) (T, error) {
	var v T
	text, err := readFile(d.path, name, secret)
	if errors.Is(err, fs.ErrNotExist) {
		err = &FileError{d.file(name), errors.New("it is missing")}
	}
	if err != nil {
		return v, fmt.Errorf("load node files: %w", err)
	}
	if v, err = parse(text); err != nil {
		return v, fmt.Errorf("load node files: %w", &FileError{d.file(name), err})
	}
	return v, nil
}

func idText(id peer.ID) []byte { return []byte(string(id) + "\n") }

func parseID(text []byte) (peer.ID, error) {
	id := peer.ID(strings.TrimSpace(string(text)))
	if !id.Valid() {
		return "", fmt.Errorf("%.40q is not a node ID", id)
	}
	return id, nil
}

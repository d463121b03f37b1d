// Package certs keeps the certificates with which users are served: read from PEM files,
// chosen by the name that a client asks for (RFC 6066 3), and read again when the files
// change, so that whatever renews them needs to tell nobody.
//
//	files --Open--> Store --Get--> tls.Config
//	  ^               |
//	  +---- Run ------+  looks every ten seconds; what cannot be read is left as it was
package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// lookEvery is how often the files are looked at.
const lookEvery = 10 * time.Second

// maxFile bounds a file that is read.
const maxFile = 1 << 20

// Files are a chain, the leaf first, and its private key, both PEM.
type Files struct{ Cert, Key string }

// Store holds certificates. Its methods are safe for concurrent use.
type Store struct {
	files []Files
	log   zerolog.Logger
	now   func() time.Time
	held  atomic.Pointer[[]held] // in the order of files
}

// held is one certificate with the state of the files that it was read from.
type held struct {
	cert  *tls.Certificate
	stamp stamp
	names []string // in lower case; "*.x" for any label before x
}

// stamp tells whether files have changed. A file that is put in the place of another one
// is noticed by its size and time.
type stamp struct {
	cert, key fileStamp
}

type fileStamp struct {
	size int64
	at   time.Time
}

// Open reads the files. now is for the end of their validity; nil is time.Now. The errors
// name the file.
func Open(files []Files, now func() time.Time, log zerolog.Logger) (*Store, error) {
	if len(files) == 0 {
		return nil, errors.New("no certificate is given")
	}
	if now == nil {
		now = time.Now
	}
	s := &Store{files: files, log: log, now: now}
	all := make([]held, len(files))
	for i, f := range files {
		h, err := read(f)
		if err != nil {
			return nil, err
		}
		s.judge(f, h)
		all[i] = h
	}
	s.held.Store(&all)
	return s, nil
}

// judge warns of what is valid no more, or not yet.
func (s *Store) judge(f Files, h held) {
	switch now := s.now(); {
	case now.After(h.cert.Leaf.NotAfter):
		s.log.Error().Str("file", f.Cert).Time("ended", h.cert.Leaf.NotAfter).Msg("the door's certificate has expired: put a new one in its place")
	case now.Before(h.cert.Leaf.NotBefore):
		s.log.Warn().Str("file", f.Cert).Time("begins", h.cert.Leaf.NotBefore).Msg("the door's certificate is not valid yet")
	}
}

func read(f Files) (held, error) {
	st, err := stampOf(f)
	if err != nil {
		return held{}, err
	}
	cert, err := os.ReadFile(f.Cert)
	if err != nil {
		return held{}, fmt.Errorf("read certificate: %w", err)
	}
	key, err := os.ReadFile(f.Key)
	if err != nil {
		return held{}, fmt.Errorf("read private key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return held{}, fmt.Errorf("certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	return held{cert: &pair, stamp: st, names: namesOf(pair.Leaf)}, nil
}

func stampOf(f Files) (stamp, error) {
	var st stamp
	for _, one := range []struct {
		name string
		to   *fileStamp
	}{{f.Cert, &st.cert}, {f.Key, &st.key}} {
		info, err := os.Stat(one.name)
		switch {
		case err != nil:
			return st, fmt.Errorf("look at %s: %w", one.name, errors.Unwrap(err))
		case !info.Mode().IsRegular():
			return st, fmt.Errorf("%s is not a file", one.name)
		case info.Size() > maxFile:
			return st, fmt.Errorf("%s has %d bytes, which no PEM file has", one.name, info.Size())
		}
		*one.to = fileStamp{info.Size(), info.ModTime()}
	}
	return st, nil
}

func namesOf(leaf *x509.Certificate) []string {
	names := make([]string, 0, len(leaf.DNSNames)+len(leaf.IPAddresses))
	for _, n := range leaf.DNSNames {
		names = append(names, strings.ToLower(n))
	}
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// Get is for tls.Config.GetCertificate: the first certificate that has the name which the
// client asks for, that of the name itself before that of a wildcard, else the first of all.
// One that the client cannot use, as ECDSA for an old program, gives way to one it can.
func (s *Store) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	all := *s.held.Load()
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	wild := ""
	if _, rest, ok := strings.Cut(name, "."); ok {
		wild = "*." + rest
	}
	var named *tls.Certificate
	for _, wanted := range [...]string{name, wild} {
		for i := range all {
			if wanted == "" || !has(all[i].names, wanted) {
				continue
			}
			if named == nil {
				named = all[i].cert
			}
			if hello.SupportsCertificate(all[i].cert) == nil {
				return all[i].cert, nil
			}
		}
	}
	if named != nil {
		return named, nil
	}
	return all[0].cert, nil
}

func has(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// Run reads files again when they have changed, until ctx is done.
func (s *Store) Run(ctx context.Context) error {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			s.Look()
		}
	}
}

// Look reads the files that have changed. One that cannot be read, or does not belong to
// its key, is left as it was: a certificate is often replaced in two steps.
func (s *Store) Look() {
	old := *s.held.Load()
	all := append([]held(nil), old...)
	changed := false
	for i, f := range s.files {
		if st, err := stampOf(f); err == nil && st == all[i].stamp {
			continue
		}
		h, err := read(f)
		if err != nil {
			s.log.Warn().Err(err).Msg("the door's certificate was not read again, the one before goes on")
			continue
		}
		s.log.Info().Str("file", f.Cert).Strs("names", h.names).Time("ends", h.cert.Leaf.NotAfter).Msg("the door has a new certificate")
		s.judge(f, h)
		all[i], changed = h, true
	}
	if changed {
		s.held.Store(&all)
	}
}

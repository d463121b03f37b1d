package agent

import (
	"crypto/tls"
	"fmt"

	"github.com/ushercluster/usher/agent/certs"
	"github.com/ushercluster/usher/agent/logs"
)

// openCertificates reads the certificates of the door, where it has some.
func (a *Agent) openCertificates() error {
	if len(a.cfg.Door.TLSCerts) == 0 {
		return nil
	}
	files := make([]certs.Files, len(a.cfg.Door.TLSCerts))
	for i, cert := range a.cfg.Door.TLSCerts {
		files[i] = certs.Files{Cert: cert, Key: a.cfg.Door.TLSKeys[i]}
	}
	s, err := certs.Open(files, a.now, logs.For(a.log, "door"))
	if err != nil {
		return permanent(fmt.Errorf("certificate of the door (--door-cert, --door-key): %w", err))
	}
	a.certs = s
	return nil
}

// doorTLS is how the door speaks to users; nil is in cleartext.
func (a *Agent) doorTLS() *tls.Config {
	if a.certs == nil {
		return nil
	}
	return &tls.Config{GetCertificate: a.certs.Get, MinVersion: tls.VersionTLS12, Time: a.now}
}

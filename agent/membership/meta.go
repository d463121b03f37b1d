package membership

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ushercluster/usher/agent/peer"
)

// metaVersion is the layout that this code writes. A later one only appends
// fields, so that any version can be read up to what the reader knows.
const metaVersion = 1

// The parts of the metadata together stay below memberlist's limit of 512 bytes,
// beyond which it panics.
const (
	maxNodeName = 63
	maxVersion  = 64
	maxAddr     = maxHost + len(":65535")
	maxMeta     = 2 + 1 + maxNodeName + 1 + maxVersion + 2 + maxAddr
)

// meta is what a node tells of itself beside its address.
type meta struct {
	Name    string
	Version string
	Class   peer.Class
	Addr    string // host:port when the host is a DNS name, else empty
}

var classCodes = []peer.Class{0: "", 1: peer.ClassServer, 2: peer.ClassEdge}

// encodeMeta writes m, with texts shortened to their limits.
func encodeMeta(m meta) []byte {
	b := []byte{metaVersion, 0}
	for code, class := range classCodes {
		if class == m.Class {
			b[1] = byte(code)
		}
	}
	b = appendString(b, printable(m.Name, maxNodeName))
	b = appendString(b, printable(m.Version, maxVersion))
	return appendString(b, m.Addr)
}

// decodeMeta reads what encodeMeta of this or a later version wrote.
func decodeMeta(b []byte) (meta, error) {
	d := decoder{b: b}
	if d.byte("meta version") == 0 {
		d.fail("meta version")
	}
	var m meta
	if code := d.byte("class"); int(code) < len(classCodes) {
		m.Class = classCodes[code]
	}
	m.Name = printable(d.string("name", maxNodeName), maxNodeName)
	m.Version = printable(d.string("version", maxVersion), maxVersion)
	m.Addr = d.string("address", maxAddr)
	if m.Addr != "" {
		if _, _, err := splitAddr(m.Addr); err != nil {
			d.fail("address")
		}
	}
	if d.err != nil {
		return meta{}, d.err
	}
	return m, nil
}

// printable shortens s to at most limit bytes without splitting a character, and
// replaces what could disturb a terminal.
func printable(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ushercluster/usher/agent/scrub"
)

// bundle is an archive that is being filled. Everything in it has been scrubbed.
type bundle struct {
	node    string // whose it is
	scrub   *scrub.Scrubber
	parts   []part
	missing []missingPart
}

type part struct {
	name, what string
	content    []byte
}

// add scrubs a part and takes it. What is no text is taken if no secret stands in it.
func (b *bundle) add(name, what string, content []byte) {
	if strings.HasSuffix(name, ".pprof") {
		if plain, err := inflated(content); err != nil || b.scrub.Found(plain) {
			b.miss(name, fmt.Errorf("it is no profile, or a secret stands in it"))
			return
		}
	} else {
		content = b.scrub.Bytes(content)
	}
	b.parts = append(b.parts, part{name, what, content})
}

func (b *bundle) addJSON(name, what string, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		b.miss(name, err)
		return
	}
	b.add(name, what, append(text, '\n'))
}

// miss notes a part that did not come.
func (b *bundle) miss(name string, err error) {
	b.missing = append(b.missing, missingPart{name, b.scrub.Text(err.Error())})
}

func (b *bundle) contents() []debugPart {
	out := make([]debugPart, 0, len(b.parts))
	for _, p := range b.parts {
		out = append(out, debugPart{p.name, len(p.content), p.what})
	}
	return out
}

// maxInflated bounds a profile.
const maxInflated = 64 << 20

func inflated(content []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(z, maxInflated))
}

// write makes the archive, with its list of contents first; everything lies in the
// directory dir.
func (b *bundle) write(w io.Writer, dir string, at time.Time) error {
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	for _, p := range append([]part{{"MANIFEST.txt", "", b.manifest(at)}}, b.parts...) {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: dir + "/" + p.name, Mode: 0o600, Size: int64(len(p.content)), ModTime: at, Format: tar.FormatPAX}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(p.content); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return z.Close()
}

func (b *bundle) manifest(at time.Time) []byte {
	var m bytes.Buffer
	fmt.Fprintf(&m, "What usher debug gathered on %s for node %s.\n\nIn it:\n", at.UTC().Format(time.RFC3339), b.node)
	for _, p := range b.parts {
		fmt.Fprintf(&m, "  %-18s %s\n", p.name, p.what)
	}
	if len(b.missing) > 0 {
		m.WriteString("\nMissing:\n")
	}
	for _, p := range b.missing {
		fmt.Fprintf(&m, "  %-18s %s\n", p.Name, p.Why)
	}
	m.WriteString("\nLeft out:\n")
	for _, s := range leftOut() {
		m.WriteString("  " + s + "\n")
	}
	return m.Bytes()
}

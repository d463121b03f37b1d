package admin

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
)

// decode reads the request's body into a pointer. A route without a body takes
// none; other agents may send fields that this version does not know.
func (c *call) decode(into any) error {
	b, err := c.body()
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return problem(http.StatusRequestEntityTooLarge, CodeTooLarge, fmt.Sprintf("the body is over %d bytes", maxBody), "")
	case err != nil:
		return malformed("the body ended early", "")
	}
	if w, ok := into.(wired); ok {
		if c.r.Header.Get("Content-Type") != wireType {
			return problem(http.StatusUnsupportedMediaType, CodeMediaType, "the body must be "+wireType, "")
		}
		if err := w.readWire(b); err != nil {
			return malformed(err.Error(), "")
		}
		return nil
	}
	if len(bytes.TrimSpace(b)) == 0 {
		if c.route.in == nil || c.route.optional {
			return nil
		}
		return malformed("a JSON object is needed", "see /v1/openapi.json for its fields")
	}
	if c.route.in == nil {
		return malformed("this request takes no body", "leave it out")
	}
	if mt, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err != nil || mt != "application/json" {
		return problem(http.StatusUnsupportedMediaType, CodeMediaType, "the body must be JSON", "send Content-Type: application/json")
	}
	return decodeJSON(b, into, c.from != originPeer)
}

// body is the whole body, at most maxBody.
func (c *call) body() ([]byte, error) {
	var b bytes.Buffer
	if n := c.r.ContentLength; n > 0 && n <= maxBody {
		b.Grow(int(n) + bytes.MinRead) // which ReadFrom wants to be free at the end
	}
	_, err := b.ReadFrom(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	return b.Bytes(), err
}

// decodeJSON is encoding/json made strict: exactly one value, no field twice, names
// in exactly our spelling, and, if closed, none that the type does not have.
func decodeJSON(b []byte, into any, closed bool) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	ck := checker{dec: dec, closed: closed}
	if err := ck.value(reflect.TypeOf(into).Elem(), ""); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return malformed("there is more after the JSON value", "send one object")
	}
	if t := bytes.TrimSpace(b); t[0] != '{' {
		return malformed("the body must be a JSON object", "")
	}
	return typeProblem(json.Unmarshal(b, into))
}

func typeProblem(err error) error {
	var te *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &te):
		return malformed(fmt.Sprintf("the field %s is a %s and must be %s", te.Field, te.Value, wordFor(te.Type)), "")
	}
	return malformed(clip(err.Error(), 256), "")
}

func wordFor(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a number"
}

// maxDepth bounds the nesting of bodies; ours are shallow.
const maxDepth = 16

// checker walks JSON beside the type that it is meant for.
type checker struct {
	dec    *json.Decoder
	closed bool
	depth  int
}

// value checks one value. t is nil below what has no fields of ours.
func (k *checker) value(t reflect.Type, path string) error {
	tok, err := k.dec.Token()
	if err != nil {
		return malformed("the body is not JSON: "+clip(err.Error(), 128), "")
	}
	d, ok := tok.(json.Delim)
	if !ok {
		return nil
	}
	if k.depth++; k.depth > maxDepth {
		return malformed("the body is nested too deeply", "")
	}
	defer func() { k.depth-- }()
	t = contentOf(t)
	if d == '[' {
		var elem reflect.Type
		if t != nil && t.Kind() == reflect.Slice {
			elem = t.Elem()
		}
		for k.dec.More() {
			if err := k.value(elem, path); err != nil {
				return err
			}
		}
	} else if err := k.object(t, path); err != nil {
		return err
	}
	if _, err := k.dec.Token(); err != nil { // the closing one
		return malformed("the body is not JSON: "+clip(err.Error(), 128), "")
	}
	return nil
}

func (k *checker) object(t reflect.Type, path string) error {
	fields := fieldsOf(t)
	seen := map[string]bool{}
	for k.dec.More() {
		tok, err := k.dec.Token()
		name, ok := tok.(string)
		if err != nil || !ok {
			return malformed("the body is not JSON", "")
		}
		if seen[name] {
			return malformed("the field "+clip(path+name, 64)+" is there twice", "")
		}
		seen[name] = true
		var ft reflect.Type
		switch {
		case fields != nil:
			known := false
			if ft, known = fields[name]; !known && (k.closed || foldsToKnown(name, fields)) {
				return malformed("there is no field "+clip(path+name, 64)+" here", suggest(name, slices.Sorted(maps.Keys(fields))))
			}
		case t != nil && t.Kind() == reflect.Map:
			ft = t.Elem()
		}
		if err := k.value(ft, path+name+"."); err != nil {
			return err
		}
	}
	return nil
}

// foldsToKnown tells names that encoding/json would take for one of ours although
// they are spelled otherwise.
func foldsToKnown(name string, fields map[string]reflect.Type) bool {
	for f := range fields {
		if strings.EqualFold(f, name) {
			return true
		}
	}
	return false
}

// contentOf follows pointers. Types that read themselves from text have no inside.
func contentOf(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return nil
	}
	return t
}

// fieldsOf are a struct's JSON fields, those of embedded structs included; nil for
// what is no struct.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	out := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || !f.IsExported() || name == "-" || name == "" {
			continue
		}
		out[name] = f.Type
	}
	return out
}

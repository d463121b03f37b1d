package admin

import (
	"encoding"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The OpenAPI document (version 3.1) is made from the table of routes and from the
// Go types of its bodies, so that it cannot say anything else than the code does.

func serveOpenAPI(c *call) { c.write(http.StatusOK, "application/json", describe(routes())) }

type object = map[string]any

func describe(table []route) object {
	d := &describer{schemas: object{}, params: object{}}
	paths := object{}
	for _, r := range table {
		item, ok := paths[r.pattern].(object)
		if !ok {
			item = object{}
			paths[r.pattern] = item
		}
		item[strings.ToLower(r.method)] = d.operation(r)
	}
	d.named(reflect.TypeFor[Problem]())
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "usher admin API", "version": "v1",
			"description": "Reads are linearizable unless ?stale is given. Every answer names its revision in X-Usher-Index. Errors are problem documents (RFC 9457).",
		},
		"paths": paths,
		"components": object{
			"schemas":         d.schemas,
			"parameters":      d.params,
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"}},
		},
		"security": []object{{"token": []string{}}},
	}
}

// describer gathers what the operations refer to.
type describer struct{ schemas, params object }

func (d *describer) operation(r route) object {
	op := object{
		"summary": r.summary, "operationId": operationID(r), "parameters": d.parameters(r),
		"responses": object{strconv.Itoa(r.status): d.success(r), "default": object{
			"description": "What is wrong, and what to do about it",
			"content":     object{problemType: object{"schema": object{"$ref": "#/components/schemas/Problem"}}},
		}},
	}
	if r.role != "" {
		op["x-usher-role"] = string(r.role)
	}
	if r.open {
		op["security"] = []object{}
	}
	if r.in != nil {
		op["requestBody"] = object{"required": !r.optional, "content": object{"application/json": object{"schema": d.schema(r.in)}}}
		// Answers may gain fields; requests are refused with ones that are not known.
		d.schemas[r.in.Name()].(object)["additionalProperties"] = false
	}
	return op
}

func (d *describer) success(r route) object {
	ok := object{"description": "Done", "headers": object{
		headerIndex: object{"description": "revision that the answer shows", "schema": object{"type": "integer"}},
		headerStale: object{"description": "true: not confirmed by a majority", "schema": object{"type": "boolean"}},
		headerAge:   object{"description": "seconds that a stale answer may be old", "schema": object{"type": "integer"}},
	}}
	switch {
	case r.out != nil:
		ok["content"] = object{"application/json": object{"schema": d.schema(r.out)}}
	case r.streams:
		ok["content"] = object{"text/event-stream": object{"schema": d.schema(reflect.TypeFor[Event]())}}
	}
	return ok
}

func operationID(r route) string {
	path := strings.NewReplacer("{", "by_", "}", "", "/", "_", "-", "_", ".", "_").Replace(strings.TrimPrefix(r.pattern, "/v1/"))
	return strings.ToLower(r.method) + "_" + strings.Trim(path, "_")
}

// pathParameters are the names in braces.
func pathParameters(pattern string) []string {
	var out []string
	for part := range strings.SplitSeq(pattern, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			out = append(out, strings.TrimSuffix(name, "}"))
		}
	}
	return out
}

func (d *describer) parameters(r route) []object {
	out := []object{}
	text := object{"type": "string"}
	for _, name := range pathParameters(r.pattern) {
		out = append(out, object{"name": name, "in": "path", "required": true, "schema": text})
	}
	shared := func(name, in, help string) {
		d.params[name] = object{"name": name, "in": in, "description": help, "schema": text}
		out = append(out, object{"$ref": "#/components/parameters/" + name})
	}
	for _, p := range r.parameters() {
		if slices.Contains(r.query, p) {
			out = append(out, object{"name": p.name, "in": "query", "description": p.help, "schema": text})
		} else {
			shared(p.name, "query", p.help)
		}
	}
	if r.conditional {
		shared("If-Match", "header", "only while the row has this etag, in quotes")
		shared("If-None-Match", "header", "*: only while there is no row")
	}
	if r.kind != 0 {
		shared(headerIdempotency, "header", "a repeat under the same key gets the first outcome")
	}
	return out
}

// schema is the JSON Schema of a type.
func (d *describer) schema(t reflect.Type) object {
	switch {
	case t.Kind() == reflect.Pointer:
		return object{"anyOf": []object{d.schema(t.Elem()), {"type": "null"}}}
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[Duration]():
		return object{"type": "string", "description": "such as 1h30m"}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer"}
	case reflect.Slice:
		return object{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.schema(t.Elem())}
	case reflect.Struct:
		return d.named(t)
	}
	panic(fmt.Sprintf("admin: no schema for %s", t)) // a defect of a type in the table
}

// named describes a struct once and refers to it.
func (d *describer) named(t reflect.Type) object {
	name := t.Name()
	if elem, ok := strings.CutPrefix(name, "List["); ok { // List[path/to/admin.Node]
		name = strings.TrimSuffix(elem[strings.LastIndexByte(elem, '.')+1:], "]") + "List"
	}
	ref := object{"$ref": "#/components/schemas/" + name}
	if d.schemas[name] != nil {
		return ref
	}
	s := object{"type": "object"}
	d.schemas[name] = s // before its fields, which may refer to it
	fields, required := object{}, []string{}
	for _, f := range reflect.VisibleFields(t) {
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || tag == "-" || tag == "" {
			continue
		}
		fields[tag] = d.schema(f.Type)
		if !strings.Contains(options, "omit") {
			required = append(required, tag)
		}
	}
	s["properties"], s["required"] = fields, required
	return ref
}

// Package builtin is a small session server that comes with usher: it opens CSV
// files as documents and keeps each user's selections in memory, as a BI engine
// does. It shows what the cluster does, and tests measure against it.
//
//	GET  /                              the documents
//	GET  /doc/{key}                     a document as a page
//	GET  /doc/{key}/api/query           rows and sums as JSON
//	GET  /doc/{key}/ws                  selections over a WebSocket
//	GET  /healthz, /counters            for agents and for tests
//	GET  /.well-known/usher/load        the engine API of docs/engine.md
//	POST /.well-known/usher/reload
//
// A document is an immutable [Table]. A reload builds a new one beside it and
// swaps one pointer, so a query sees all of the old data or all of the new, and a
// file that cannot be read changes nothing.
package builtin

//go:build !unix

package durable

// SyncDir does nothing: a directory cannot be flushed by itself here.
func SyncDir(string) error { return nil }

//go:build unix

package identity

import "io/fs"

// looseMode reports whether anybody but the owner may do anything.
func looseMode(m fs.FileMode) bool { return m.Perm()&0o077 != 0 }

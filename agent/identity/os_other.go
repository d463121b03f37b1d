//go:build !unix

package identity

import "io/fs"

// looseMode is false where access is not a matter of mode bits: there the
// directory inherits its access list.
func looseMode(fs.FileMode) bool { return false }

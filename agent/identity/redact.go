package identity

import (
	"fmt"
	"io"
)

// hidden keeps secret bytes inside a function. A Format method is not enough: fmt
// cannot call it on an unexported field of a foreign struct, and follows pointers
// there when the verb does not fit.
type hidden func() []byte

func hide(b []byte) hidden { return func() []byte { return b } }

func (h hidden) bytes() []byte {
	if h == nil {
		return nil
	}
	return h()
}

// redact writes what stands for a secret, whatever the verb.
func redact(f fmt.State, what string) { _, _ = io.WriteString(f, what) }

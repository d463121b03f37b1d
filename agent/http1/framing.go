package http1

// Kind is a way to find the end of a body (RFC 9112 6.3).
type Kind uint8

// Kinds of bodies.
const (
	NoBody     Kind = iota // there is none
	Sized                  // as many bytes as the length says
	Chunked                // chunks, and a trailer section
	UntilClose             // all until the connection ends; responses only
)

// Framing is how a body is framed.
type Framing struct {
	Kind   Kind
	Length int64 // of a Sized body
}

package upstream

import (
	"net/http"
	"strings"
)

// CleanHeader removes from h, which has canonical names, the fields that speak of
// one connection only (RFC 9110 7.6.1): Connection and whatever it names,
// Keep-Alive, Proxy-Connection, Transfer-Encoding, Upgrade, TE (but for
// "trailers"), and the fields of proxy authentication, which a reverse proxy
// neither asks for nor passes on. It changes h in place and nothing else.
//
// Clean what a client sent before adding fields of your own: otherwise the client
// could have them removed by naming them in Connection. The header of a Response
// has been cleaned already.
func CleanHeader(h http.Header) {
	// TE is itself named in Connection by whoever sends it; what it says of
	// trailers holds end to end for us, because we pass them on.
	trailers := acceptsTrailers(h["Te"])
	if names, ok := h["Connection"]; ok {
		eachElement(names, func(name string) bool {
			delete(h, http.CanonicalHeaderKey(name))
			return true
		})
		delete(h, "Connection")
	}
	delete(h, "Keep-Alive")
	delete(h, "Proxy-Connection")
	delete(h, "Transfer-Encoding")
	delete(h, "Upgrade")
	delete(h, "Proxy-Authenticate")
	delete(h, "Proxy-Authorization")
	delete(h, "Proxy-Authentication-Info")
	delete(h, "Te")
	if trailers {
		h["Te"] = []string{"trailers"}
	}
}

func acceptsTrailers(te []string) bool {
	found := false
	eachElement(te, func(e string) bool {
		name, _, _ := strings.Cut(e, ";")
		found = strings.EqualFold(trimOWS(name), "trailers")
		return !found
	})
	return found
}

// framingField reports whether the client writes the field itself, or never, so
// that a caller's value is not used. It takes any case.
func framingField(name string) bool {
	switch len(name) {
	case 2:
		return strings.EqualFold(name, "Te")
	case 4:
		return strings.EqualFold(name, "Host")
	case 7:
		return strings.EqualFold(name, "Upgrade")
	case 10:
		return strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Keep-Alive")
	case 14:
		return strings.EqualFold(name, "Content-Length")
	case 16:
		return strings.EqualFold(name, "Proxy-Connection")
	case 17:
		return strings.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// forbiddenTrailer reports whether a trailer field of this name would change how
// a message is framed or routed (RFC 9110 6.5.1).
func forbiddenTrailer(name string) bool {
	return framingField(name) || strings.EqualFold(name, "Trailer")
}

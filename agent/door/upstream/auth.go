package upstream

import (
	"net/http"
	"strings"
)

// authenticates reports whether an exchange speaks of authenticating its
// connection: the request carries NTLM or Negotiate credentials, or the answer
// offers to take them.
func authenticates(request http.Header, answer answerHead) bool {
	for _, v := range request["Authorization"] {
		if connectionScheme(v) {
			return true
		}
	}
	switch answer.status {
	case http.StatusUnauthorized:
		return offersConnectionAuth(answer.header["Www-Authenticate"])
	case http.StatusProxyAuthRequired:
		return offersConnectionAuth(answer.header["Proxy-Authenticate"])
	}
	return false
}

// offersConnectionAuth looks at every element of the lists. Commas within quoted
// strings make elements too many, which can pin a connection without need but
// never leave one unpinned.
func offersConnectionAuth(challenges []string) bool {
	found := false
	eachElement(challenges, func(e string) bool {
		found = connectionScheme(e)
		return !found
	})
	return found
}

func connectionScheme(s string) bool {
	scheme := trimOWS(s)
	if i := strings.IndexAny(scheme, " \t,;"); i >= 0 {
		scheme = scheme[:i]
	}
	return strings.EqualFold(scheme, "NTLM") || strings.EqualFold(scheme, "Negotiate")
}

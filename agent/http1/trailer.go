package http1

// dropForbidden removes the fields that may not stand in a trailer section (RFC 9110
// 6.5.1): those that frame, route, authenticate, condition or describe a message, because
// a program that merges trailers into the head would then believe them.
func (f *Fields) dropForbidden() {
	kept := f.spans[:0]
	for i, s := range f.spans {
		if !forbiddenTrailer(f.Name(i)) {
			kept = append(kept, s)
		}
	}
	f.spans = kept
}

func forbiddenTrailer(name []byte) bool {
	for _, prefix := range [...]string{"content-", "proxy-", "if-", "sec-", "access-control-"} {
		if len(name) > len(prefix) && EqualFold(name[:len(prefix)], prefix) && !EqualFold(name, "content-digest") && !EqualFold(name, "content-md5") {
			return true
		}
	}
	for _, n := range [...]string{
		"host", "transfer-encoding", "trailer", "te", "connection", "keep-alive", "upgrade", "http2-settings", "via", // framing, routing
		"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip",
		"authorization", "cookie", "set-cookie", "www-authenticate", "authentication-info", // authentication
		"expect", "range", "max-forwards", "cache-control", "pragma", // controls
		"age", "date", "expires", "location", "retry-after", "vary", "warning", // of responses
	} {
		if EqualFold(name, n) {
			return true
		}
	}
	return false
}

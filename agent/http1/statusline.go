package http1

// statusLine reads on in the status line (RFC 9112 4). It reports whether it needs more.
func (r *Response) statusLine(b []byte) (more bool, err error) {
	if r.phase == atStart {
		if more, err = r.status(b); more || err != nil {
			return more, err
		}
	}
	if r.phase == inReason {
		i := skipValue(b, r.at)
		r.at = i
		switch {
		case i == len(b):
			return true, nil
		case b[i] != '\r':
			return false, badText(b[i], i, "reason phrase")
		}
		r.reason.end = uint16(i)
		r.at, r.phase = i+1, inVersion
	}
	if r.at == len(b) {
		return true, nil
	}
	if b[r.at] != '\n' {
		return false, bad(r.at-1, "bare CR in the status line")
	}
	r.at, r.phase = r.at+1, atLine
	return false, nil
}

// status reads version and status, with the byte behind them. r.at is 0 until then.
func (r *Response) status(b []byte) (more bool, err error) {
	if r.Minor, more, err = r.checkVersion(b, "status line"); more || err != nil {
		return more, err
	}
	const after = len(" ddd")
	s := b[versionLen:min(len(b), versionLen+after+1)]
	for i, c := range s {
		switch {
		case i == 0 && c == ' ', i == 1 && '1' <= c && c <= '5', i > 1 && i < after && isDigit(c),
			i == after && (c == ' ' || c == '\r'):
		default:
			return false, bad(versionLen+i, "no status where one should be")
		}
	}
	if len(s) <= after {
		return true, nil
	}
	r.Status = int(s[1]-'0')*100 + int(s[2]-'0')*10 + int(s[3]-'0')
	end := versionLen + after
	r.at, r.phase = end+1, inReason
	if b[end] == '\r' {
		r.phase = inVersion // without a reason phrase, its line end comes
	}
	r.reason = at(r.at, r.at)
	return false, nil
}

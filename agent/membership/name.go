package membership

import (
	"strconv"
	"strings"

	"github.com/ushercluster/usher/agent/peer"
)

// nodeName is how memberlist knows one boot of one node: "NODE-ID.BOOT".
func nodeName(id peer.ID, boot uint64) string {
	return string(id) + "." + strconv.FormatUint(boot, 10)
}

// parseName is the inverse of nodeName. It accepts the canonical form only, so
// that no boot has two names.
func parseName(name string) (id peer.ID, boot uint64, ok bool) {
	head, tail, _ := strings.Cut(name, ".")
	boot, err := strconv.ParseUint(tail, 10, 64)
	id = peer.ID(head)
	if err != nil || !id.Valid() || nodeName(id, boot) != name {
		return "", 0, false
	}
	return id, boot, true
}

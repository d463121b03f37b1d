package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/ushercluster/usher/agent/peer"
)

// AdmitNode lets a machine in on a join token. The certificate is signed after
// this command was committed. A repeat with the same public key is granted again,
// so that an answer that was lost costs nothing.
type AdmitNode struct {
	TokenID string
	Node    Node
	Wraps   []KeyWrap // the data keys, sealed for the new node
}

// KeyWrap is one data key wrapped for one node.
type KeyWrap struct {
	KeyID uint64
	Wrap  Wrap
}

func (*AdmitNode) kind() Kind { return KindAdmitNode }
func (c *AdmitNode) about() (string, string) {
	return c.Node.Name, fmt.Sprintf("id %s, address %s, join token %s", c.Node.ID, c.Node.Addr, c.TokenID)
}

func (c *AdmitNode) apply(t *tx) *Error {
	if err := checkNode(&c.Node); err != nil {
		return err
	}
	tok := get[*JoinToken](t.txn, tableJoinTokens, c.TokenID)
	known := get[*Node](t.txn, tableNodes, string(c.Node.ID))
	again := repeats(tok, known, c.Node.KeyHash)
	if err := usable(tok, c.TokenID, again, t.now); err != nil {
		return err
	}
	if get[*Removed](t.txn, tableRemoved, string(c.Node.ID)) != nil {
		return refuse(CodeRemoved, "node %s was removed from the cluster: delete its data directory and join anew", c.Node.ID)
	}
	row := c.Node
	row.Meta, row.State, row.Joined = t.fresh(), peer.StateActive, t.now
	if known != nil {
		if !bytes.Equal(known.KeyHash, row.KeyHash) {
			return refuse(CodeExists, "node ID %s is taken by another key", row.ID)
		}
		row = rejoined(known, &row, t.rev)
	}
	holder := t.nodeByName(row.Name)
	replaced := holder != nil && holder.ID != row.ID
	if replaced && !strings.EqualFold(tok.Replace, holder.Name) {
		return refuse(CodeExists, "the name %q is taken by node %s: choose another with --name, or make a join token with --replace %s", row.Name, holder.ID, row.Name)
	}
	if known == nil && !replaced && count(t.txn, tableNodes) >= MaxNodes {
		return refuse(CodeLimit, "the cluster has %d nodes, its limit", MaxNodes)
	}
	if replaced {
		row.Weight, row.Priority, row.Tags, row.PublicName = holder.Weight, holder.Priority, holder.Tags, holder.PublicName
		t.removeNode(holder)
	}
	t.put(tableNodes, &row)
	if !again {
		t.useJoinToken(tok, row.KeyHash)
	}
	for _, w := range c.Wraps {
		t.putWrap(w.KeyID, Wrap{Node: row.ID, Sealed: w.Wrap.Sealed})
	}
	return nil
}

// rejoined is the row of a node that asks again: what operators set stays.
func rejoined(known, asked *Node, rev uint64) Node {
	row := *known
	row.Modified = rev
	row.Name, row.Addr, row.Door = asked.Name, asked.Addr, asked.Door
	row.SealKey, row.FeatureLevel, row.Version = asked.SealKey, asked.FeatureLevel, asked.Version
	row.Boot, row.Nonce, row.Engines = asked.Boot, asked.Nonce, asked.Engines
	return row
}

// repeats reports whether a member asks again, because the answer may have been lost: the
// same node, with the same key, on the token that it has used. Without the node's row it is
// no repeat: one that was removed must not come back on an old token, nor a machine take
// another ID on it.
func repeats(tok *JoinToken, known *Node, keyHash []byte) bool {
	return tok != nil && known != nil && bytes.Equal(known.KeyHash, keyHash) && usedBy(tok, keyHash)
}

// usable says whether a machine may use the join token now; again is what repeats says.
func usable(tok *JoinToken, id string, again bool, now Stamp) *Error {
	switch {
	case tok == nil:
		return refuse(CodeNotFound, "join token %s is unknown here: make a new one with: usher join-token create", id)
	case tok.Revoked != 0:
		return refuse(CodeRevoked, "join token %s was revoked: make a new one with: usher join-token create", id)
	case again:
		return nil
	case tok.Expires != 0 && now >= tok.Expires:
		return refuse(CodeExpired, "join token %s expired at %s: make a new one with: usher join-token create", id, tok.Expires.Time().Format("2006-01-02 15:04:05Z07:00"))
	case len(tok.UsedBy) >= tok.Uses:
		return refuse(CodeExhausted, "join token %s is used up (%d of %d): make a new one with: usher join-token create", id, len(tok.UsedBy), tok.Uses)
	}
	return nil
}

// CheckJoinToken tells beforehand what AdmitNode would say of the token.
func (v View) CheckJoinToken(id string, node peer.ID, keyHash []byte, now Stamp) error {
	tok := v.JoinToken(id)
	if err := usable(tok, id, repeats(tok, v.Node(node), keyHash), now); err != nil {
		return err
	}
	return nil
}

// ReportNode is what an agent says of itself at each start and whenever one of
// these facts changes.
type ReportNode struct {
	ID           peer.ID
	Addr         string
	Door         string
	Version      string
	FeatureLevel uint32
	Boot         uint64
	Nonce        []byte
	Engines      []string
	PublicName   string // from the node's configuration; "" leaves what operators set
}

func (*ReportNode) kind() Kind                { return KindReportNode }
func (c *ReportNode) about() (string, string) { return string(c.ID), "address " + c.Addr }

// Speaks implements Speaker.
func (c *ReportNode) Speaks() string { return string(c.ID) }

func (c *ReportNode) apply(t *tx) *Error {
	old := get[*Node](t.txn, tableNodes, string(c.ID))
	if old == nil {
		return t.noNode(string(c.ID))
	}
	if c.Boot < old.Boot || c.Boot == old.Boot && !bytes.Equal(c.Nonce, old.Nonce) {
		return refuse(CodeConflict, "node %s reports start %d, but start %d is recorded: its data directory was rolled back", c.ID, c.Boot, old.Boot)
	}
	row := *old
	row.Modified = t.rev
	row.Addr, row.Door, row.Version = c.Addr, c.Door, c.Version
	row.FeatureLevel, row.Boot, row.Nonce = c.FeatureLevel, c.Boot, c.Nonce
	row.Engines = sortedUnique(c.Engines)
	if c.PublicName != "" {
		row.PublicName = c.PublicName
	}
	if err := checkNode(&row); err != nil {
		return err
	}
	t.put(tableNodes, &row)
	return nil
}

// UpdateNode changes what operators may set of a node; nil leaves a field alone.
type UpdateNode struct {
	ID         peer.ID
	If         Match
	Weight     *int
	Priority   *int
	Tags       *[]string
	PublicName *string
}

func (*UpdateNode) kind() Kind { return KindUpdateNode }
func (c *UpdateNode) about() (string, string) {
	var d []string
	if c.Weight != nil {
		d = append(d, fmt.Sprintf("weight %d", *c.Weight))
	}
	if c.Priority != nil {
		d = append(d, fmt.Sprintf("priority %d", *c.Priority))
	}
	if c.Tags != nil {
		d = append(d, "tags "+strings.Join(*c.Tags, ","))
	}
	if c.PublicName != nil {
		d = append(d, "public name "+*c.PublicName)
	}
	return string(c.ID), strings.Join(d, "; ")
}

func (c *UpdateNode) apply(t *tx) *Error {
	old := get[*Node](t.txn, tableNodes, string(c.ID))
	if old == nil {
		return t.noNode(string(c.ID))
	}
	if err := match(c.If, old.Meta, "node "+old.Name); err != nil {
		return err
	}
	row := *old
	row.Modified = t.rev
	if c.Weight != nil {
		row.Weight = *c.Weight
	}
	if c.Priority != nil {
		row.Priority = *c.Priority
	}
	if c.Tags != nil {
		row.Tags = sortedUnique(*c.Tags)
	}
	if c.PublicName != nil {
		row.PublicName = *c.PublicName
	}
	if err := checkNode(&row); err != nil {
		return err
	}
	t.put(tableNodes, &row)
	return nil
}

// SetNodeState makes a node active, draining or standby.
type SetNodeState struct {
	ID     peer.ID
	If     Match
	State  peer.State
	Until  Stamp // a drain's deadline
	Reason string
}

func (*SetNodeState) kind() Kind                { return KindSetNodeState }
func (c *SetNodeState) about() (string, string) { return string(c.ID), string(c.State) }

func (c *SetNodeState) apply(t *tx) *Error {
	if !c.State.Valid() {
		return refuse(CodeInvalid, "node state %q: use active, draining or standby", clip(string(c.State), 32))
	}
	if len(c.Reason) > 4*MaxNameBytes {
		return refuse(CodeInvalid, "reason: at most %d bytes", 4*MaxNameBytes)
	}
	old := get[*Node](t.txn, tableNodes, string(c.ID))
	if old == nil {
		return t.noNode(string(c.ID))
	}
	if err := match(c.If, old.Meta, "node "+old.Name); err != nil {
		return err
	}
	row := *old
	row.Modified, row.State, row.StateUntil, row.StateReason = t.rev, c.State, c.Until, c.Reason
	t.put(tableNodes, &row)
	return nil
}

// RemoveNode takes a node out of the cluster for good.
type RemoveNode struct{ ID peer.ID }

func (*RemoveNode) kind() Kind                { return KindRemoveNode }
func (c *RemoveNode) about() (string, string) { return string(c.ID), "" }

func (c *RemoveNode) apply(t *tx) *Error {
	old := get[*Node](t.txn, tableNodes, string(c.ID))
	if old == nil {
		return t.noNode(string(c.ID))
	}
	if count(t.txn, tableNodes) == 1 {
		return refuse(CodeState, "node %s is the last one of the cluster", old.Name)
	}
	t.removeNode(old)
	return nil
}

func (t *tx) noNode(id string) *Error {
	if get[*Removed](t.txn, tableRemoved, id) != nil {
		return refuse(CodeRemoved, "node %s was removed from the cluster", clip(id, 32))
	}
	return refuse(CodeNotFound, "there is no node %s", clip(id, 32))
}

// removeNode deletes the row, remembers the identity as removed and drops its
// copies of the data keys.
func (t *tx) removeNode(n *Node) {
	t.del(tableNodes, n)
	t.put(tableRemoved, &Removed{Meta: t.fresh(), ID: n.ID, Name: n.Name, At: t.now})
	for _, k := range all[*DataKey](t.txn, tableDataKeys) {
		row := *k
		row.Modified = t.rev
		row.Wraps = slices.DeleteFunc(slices.Clone(k.Wraps), func(w Wrap) bool { return w.Node == n.ID })
		t.put(tableDataKeys, &row)
	}
}

func checkNode(n *Node) *Error {
	if !n.ID.Valid() {
		return refuse(CodeInvalid, "node ID %q is malformed", clip(string(n.ID), 32))
	}
	if err := checkName("node name", n.Name); err != nil {
		return err
	}
	if n.Class != peer.ClassServer && n.Class != peer.ClassEdge {
		return refuse(CodeInvalid, "node class %q is unknown", clip(string(n.Class), 32))
	}
	if n.Weight < 1 || n.Weight > 1000 {
		return refuse(CodeInvalid, "weight %d: use 1 to 1000 (100 is normal)", n.Weight)
	}
	if n.Priority < 0 || n.Priority > 1000 {
		return refuse(CodeInvalid, "priority %d: use 0 to 1000 (lower is promoted first)", n.Priority)
	}
	if len(n.Tags) > 32 || len(n.Engines) > 16 {
		return refuse(CodeInvalid, "node %s: at most 32 tags and 16 engines", n.Name)
	}
	for _, s := range slices.Concat(n.Tags, n.Engines) {
		if !peer.ValidName(s) {
			return refuse(CodeInvalid, "%q cannot be a tag or an engine's name: use a-z, 0-9, '-' and '.'", clip(s, 64))
		}
	}
	for _, s := range []string{n.Addr, n.Door, n.PublicName, n.Version} {
		if len(s) > 2*MaxNameBytes {
			return refuse(CodeInvalid, "node %s: an address or name is over %d bytes", n.Name, 2*MaxNameBytes)
		}
	}
	return nil
}

package fsm

// Command is something that changes the state. The set is closed: the methods are
// unexported, and every kind has a number that is never used again.
//
// The fields of a command are encoded as an array in field order: new fields are
// only appended, and an older encoding leaves them zero.
type Command interface {
	kind() Kind
	// apply checks everything, then writes. It returns a refusal and must have
	// written nothing then.
	apply(t *tx) *Error
	// about names what it touches and describes the change for the audit, without
	// secrets.
	about() (target, detail string)
}

// Kind is the number of a command on disk and on the wire. Append only.
type Kind uint16

// Kinds.
const (
	KindInitCluster       Kind = 1
	KindAdmitNode         Kind = 2
	KindReportNode        Kind = 3
	KindUpdateNode        Kind = 4
	KindSetNodeState      Kind = 5
	KindRemoveNode        Kind = 6
	KindRenameCluster     Kind = 7
	KindRaiseFeatureLevel Kind = 8
	KindSetSetting        Kind = 9
	KindUnsetSetting      Kind = 10
	KindImportSettings    Kind = 11
	KindCreateJoinToken   Kind = 12
	KindRevokeJoinToken   Kind = 13
	KindCreateToken       Kind = 14
	KindRevokeToken       Kind = 15
	KindPutSecret         Kind = 16
	KindPutDataKey        Kind = 17
	KindPutTask           Kind = 18
	KindRemoveTask        Kind = 19
	KindPauseTask         Kind = 20
	KindRequestRun        Kind = 21
	KindClaimOccurrence   Kind = 22
	KindStartOccurrence   Kind = 23
	KindRenewOccurrence   Kind = 24
	KindFinishOccurrence  Kind = 25
	KindLoseOccurrence    Kind = 26
	KindSkipOccurrence    Kind = 27
)

// FeatureLevel is the newest level that this binary knows.
const FeatureLevel = 1

// Proposer says who may propose a kind of command.
type Proposer uint8

// Who may propose.
const (
	ByOperator Proposer = iota // a person or program, by role
	ByAgent                    // any agent, about itself
	ByLeader                   // the leader alone, as part of its duties
)

// info describes a kind: its stable name in audits and metrics, the feature level
// since which it exists, and who may propose it.
type info struct {
	name  string
	level uint32
	by    Proposer
	role  Role // what a caller needs when by is ByOperator
	make  func() Command
}

func kinds() map[Kind]info {
	return map[Kind]info{
		KindInitCluster:       {"cluster.init", 1, ByLeader, "", func() Command { return new(InitCluster) }},
		KindAdmitNode:         {"node.admit", 1, ByLeader, "", func() Command { return new(AdmitNode) }},
		KindReportNode:        {"node.report", 1, ByAgent, "", func() Command { return new(ReportNode) }},
		KindUpdateNode:        {"node.set", 1, ByOperator, RoleAdmin, func() Command { return new(UpdateNode) }},
		KindSetNodeState:      {"node.state", 1, ByOperator, RoleOperator, func() Command { return new(SetNodeState) }},
		KindRemoveNode:        {"node.remove", 1, ByOperator, RoleAdmin, func() Command { return new(RemoveNode) }},
		KindRenameCluster:     {"cluster.rename", 1, ByOperator, RoleAdmin, func() Command { return new(RenameCluster) }},
		KindRaiseFeatureLevel: {"cluster.feature_level", 1, ByLeader, "", func() Command { return new(RaiseFeatureLevel) }},
		KindSetSetting:        {"setting.set", 1, ByOperator, RoleAdmin, func() Command { return new(SetSetting) }},
		KindUnsetSetting:      {"setting.unset", 1, ByOperator, RoleAdmin, func() Command { return new(UnsetSetting) }},
		KindImportSettings:    {"setting.import", 1, ByOperator, RoleAdmin, func() Command { return new(ImportSettings) }},
		KindCreateJoinToken:   {"join-token.create", 1, ByOperator, RoleAdmin, func() Command { return new(CreateJoinToken) }},
		KindRevokeJoinToken:   {"join-token.revoke", 1, ByOperator, RoleAdmin, func() Command { return new(RevokeJoinToken) }},
		KindCreateToken:       {"token.create", 1, ByOperator, RoleAdmin, func() Command { return new(CreateToken) }},
		KindRevokeToken:       {"token.revoke", 1, ByOperator, RoleAdmin, func() Command { return new(RevokeToken) }},
		KindPutSecret:         {"secret.put", 1, ByLeader, "", func() Command { return new(PutSecret) }},
		KindPutDataKey:        {"data-key.put", 1, ByLeader, "", func() Command { return new(PutDataKey) }},
		KindPutTask:           {"task.put", 1, ByOperator, RoleOperator, func() Command { return new(PutTask) }},
		KindRemoveTask:        {"task.remove", 1, ByOperator, RoleOperator, func() Command { return new(RemoveTask) }},
		KindPauseTask:         {"task.pause", 1, ByOperator, RoleOperator, func() Command { return new(PauseTask) }},
		KindRequestRun:        {"task.run", 1, ByOperator, RoleOperator, func() Command { return new(RequestRun) }},
		KindClaimOccurrence:   {"occurrence.claim", 1, ByLeader, "", func() Command { return new(ClaimOccurrence) }},
		KindStartOccurrence:   {"occurrence.start", 1, ByAgent, "", func() Command { return new(StartOccurrence) }},
		KindRenewOccurrence:   {"occurrence.renew", 1, ByAgent, "", func() Command { return new(RenewOccurrence) }},
		KindFinishOccurrence:  {"occurrence.finish", 1, ByAgent, "", func() Command { return new(FinishOccurrence) }},
		KindLoseOccurrence:    {"occurrence.lose", 1, ByLeader, "", func() Command { return new(LoseOccurrence) }},
		KindSkipOccurrence:    {"occurrence.skip", 1, ByLeader, "", func() Command { return new(SkipOccurrence) }},
	}
}

// registry is kinds() made once.
var registry = kinds()

// KindOf is the kind of a command.
func KindOf(c Command) Kind { return c.kind() }

// String is the kind's stable name.
func (k Kind) String() string {
	if i, ok := registry[k]; ok {
		return i.name
	}
	return "unknown"
}

// Level is the feature level since which the kind exists; zero if unknown.
func (k Kind) Level() uint32 { return registry[k].level }

// Proposer says who may propose the kind.
func (k Kind) Proposer() Proposer { return registry[k].by }

// Role is what a person or program needs to propose the kind, when
// Proposer is ByOperator.
func (k Kind) Role() Role { return registry[k].role }

// Speaker is implemented by commands that an agent proposes about itself: the
// node that the command speaks for, which must be the node that sends it.
type Speaker interface{ Speaks() string }

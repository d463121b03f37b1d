package night

// Lines of the runbook that are gone through, and words in them that stand for others.
const (
	lineStatus      = "usher status"
	lineStop        = "systemctl stop usher"
	lineStart       = "systemctl start usher"
	lineRecover     = "usher recover"
	lineJoinToken   = "usher join-token create"
	linePurge       = "usher leave --purge"
	lineHistory     = "usher setting history"
	lineTasks       = "usher task list"
	lineSave        = "usher snapshot save FILE"
	lineInspect     = "usher snapshot inspect FILE --recovery-key-file KEY"
	lineRestore     = "usher snapshot restore FILE --recovery-key-file KEY"
	lineOver        = "usher snapshot restore FILE --over --recovery-key-file KEY"
	lineReplace     = "usher join-token create --quiet --replace bi2 > join.token"
	lineRejoin      = "usher agent --join bi1 --join-token-file join.token"
	lineDoctor      = "usher doctor"
	lineTaskHistory = "usher task history NAME"
)

func lines() []string {
	return []string{
		lineStatus, lineStop, lineStart, lineRecover, lineJoinToken, linePurge, lineHistory, lineTasks, lineSave,
		lineInspect, lineRestore, lineOver, lineReplace, lineRejoin, lineDoctor, lineTaskHistory,
	}
}

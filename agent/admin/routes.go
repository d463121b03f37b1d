package admin

import (
	"net/http"

	"github.com/ushercluster/usher/fsm"
)

// routes is the public API. What is not in here does not exist.
func routes() []route {
	var all []route
	for _, part := range [][]route{clusterRoutes(), nodeRoutes(), sessionRoutes(), settingRoutes(), taskRoutes(), tokenRoutes(), plainRoutes()} {
		all = append(all, part...)
	}
	return all
}

func clusterRoutes() []route {
	return []route{
		readRoute("/v1/status", fsm.RoleViewer, "How the cluster is", status, withFallback),
		readRoute("/v1/cluster", fsm.RoleViewer, "The cluster's own row", showCluster, withTables(fsm.InCluster)),
		writeRoute(http.MethodPost, "/v1/cluster/rename", fsm.KindRenameCluster, "Give the cluster another name", renameCluster),
		readRoute("/v1/central", fsm.RoleViewer, "Which node schedules", showCentral, withFallback),
		actionRoute(http.MethodPost, "/v1/central/move", fsm.RoleOperator, "Hand the central role to another server", moveCentral, withOptionalBody),
		readRoute("/v1/whoami", fsm.RoleViewer, "How the caller is known", whoami),
		readRoute("/v1/audit", fsm.RoleOperator, "What people and programs asked for, newest first", listAudit, withTables(fsm.InAudit|fsm.InNodes), withPages,
			withQuery("action", "only this action, such as setting.set"), withQuery("actor", "only this actor, such as token:ID"), withQuery("target", "only this target")),
	}
}

func nodeRoutes() []route {
	return []route{
		readRoute("/v1/nodes", fsm.RoleViewer, "The members", listNodes, withFallback, withPages),
		readRoute("/v1/nodes/{id}", fsm.RoleViewer, "One member, by name, ID or the beginning of an ID", showNode, withFallback,
			withQuery("count", "ask the node itself how many sessions it has")),
		writeRoute(http.MethodPatch, "/v1/nodes/{id}", fsm.KindUpdateNode, "Change weight, priority, tags or public name", updateNode, withCondition),
		writeRoute(http.MethodPost, "/v1/nodes/{id}/drain", fsm.KindSetNodeState, "Keep its sessions, take no new ones", drainNode, withCondition, withOptionalBody),
		writeRoute(http.MethodPost, "/v1/nodes/{id}/activate", fsm.KindSetNodeState, "Take sessions", activateNode, withCondition, withOptionalBody),
		writeRoute(http.MethodPost, "/v1/nodes/{id}/standby", fsm.KindSetNodeState, "Take no sessions until promoted", standbyNode, withCondition, withOptionalBody),
		writeRoute(http.MethodDelete, "/v1/nodes/{id}", fsm.KindRemoveNode, "Take a node out of the cluster for good", removeNode,
			withQuery("force", "even when the voters that remain are no majority")),
		readRoute("/v1/engines", fsm.RoleViewer, "The engines of all nodes", listEngines, withFallback, withPages),
		readRoute("/v1/engines/{node}/{engine}", fsm.RoleViewer, "One engine, with what its own agent knows", showEngine, withFallback),
	}
}

func sessionRoutes() []route {
	return []route{
		readRoute("/v1/sessions", fsm.RoleViewer, "The sessions of all nodes, by ID", listSessions, withFallback, withPages,
			withQuery("node", "only those of this node"), withQuery("engine", "only those of engines with this name, or NODE-ID/NAME"), withQuery("document", "only those on this document")),
		readRoute("/v1/sessions/{id}", fsm.RoleViewer, "One session", showSession, withFallback),
		actionRoute(http.MethodDelete, "/v1/sessions/{id}", fsm.RoleOperator, "End a session", closeSession),
		readRoute("/v1/documents", fsm.RoleViewer, "The documents that engines hold or tasks reload", listDocuments, withFallback, withPages),
		readRoute("/v1/documents/{key}", fsm.RoleViewer, "One document with its sessions", showDocument, withFallback),
	}
}

func settingRoutes() []route {
	return []route{
		readRoute("/v1/settings", fsm.RoleViewer, "Every setting with its value in force", listSettings, withTables(fsm.InSettings), withPages),
		readRoute("/v1/settings/{key}", fsm.RoleViewer, "One setting", showSetting, withTables(fsm.InSettings)),
		writeRoute(http.MethodPut, "/v1/settings/{key}", fsm.KindSetSetting, "Give a setting a value", setSetting, withCondition),
		writeRoute(http.MethodDelete, "/v1/settings/{key}", fsm.KindUnsetSetting, "Bring the default back", unsetSetting, withCondition),
		readRoute("/v1/settings/{key}/history", fsm.RoleViewer, "Who changed a setting, newest first", settingHistory, withTables(fsm.InAudit|fsm.InNodes), withPages),
		readRoute("/v1/settings-history", fsm.RoleViewer, "Who changed settings, newest first", settingHistory, withTables(fsm.InAudit|fsm.InNodes), withPages),
		readRoute("/v1/settings/export", fsm.RoleViewer, "The settings that are set, as import takes them", exportSettings, withTables(fsm.InSettings),
			withQuery("all", "every setting with its value in force")),
		writeRoute(http.MethodPost, "/v1/settings/import", fsm.KindImportSettings, "Set several settings, all or none", importSettings),
	}
}

func taskRoutes() []route {
	const runs = fsm.InTasks | fsm.InOccurrences | fsm.InNodes
	return []route{
		readRoute("/v1/tasks", fsm.RoleViewer, "The tasks", listTasks, withTables(runs), withPages),
		readRoute("/v1/tasks/{name}", fsm.RoleViewer, "One task", showTask, withTables(runs)),
		writeRoute(http.MethodPut, "/v1/tasks/{name}", fsm.KindPutTask, "Make or change a task", putTask, withCondition),
		writeRoute(http.MethodDelete, "/v1/tasks/{name}", fsm.KindRemoveTask, "Delete a task; its history stays", removeTask, withCondition),
		writeRoute(http.MethodPost, "/v1/tasks/{name}/run", fsm.KindRequestRun, "Ask for a run now", runTask, withStatus(http.StatusCreated)),
		writeRoute(http.MethodPost, "/v1/tasks/{name}/pause", fsm.KindPauseTask, "Stop a task", pauseTask, withCondition, withOptionalBody),
		writeRoute(http.MethodPost, "/v1/tasks/{name}/resume", fsm.KindPauseTask, "Start a paused task again", resumeTask, withCondition),
		readRoute("/v1/tasks/{name}/occurrences", fsm.RoleViewer, "A task's occurrences, latest due first", listTaskOccurrences, withTables(runs), withPages,
			withQuery("state", "only those in this state, or open")),
		readRoute("/v1/occurrences", fsm.RoleViewer, "The occurrences of all tasks, latest due first", listOccurrences, withTables(runs), withPages,
			withQuery("task", "only those of this task"), withQuery("state", "only those in this state, or open")),
		readRoute("/v1/occurrences/{id}", fsm.RoleViewer, "One occurrence", showOccurrence, withTables(runs)),
	}
}

func tokenRoutes() []route {
	return []route{
		readRoute("/v1/join-tokens", fsm.RoleAdmin, "The join tokens", listJoinTokens, withTables(fsm.InJoinTokens), withPages),
		writeRoute(http.MethodPost, "/v1/join-tokens", fsm.KindCreateJoinToken, "Make a join token; its secret is shown once", createJoinToken, withOptionalBody, withStatus(http.StatusCreated)),
		writeRoute(http.MethodDelete, "/v1/join-tokens/{id}", fsm.KindRevokeJoinToken, "Revoke a join token", revokeJoinToken),
		readRoute("/v1/tokens", fsm.RoleAdmin, "The API tokens", listTokens, withTables(fsm.InTokens), withPages),
		writeRoute(http.MethodPost, "/v1/tokens", fsm.KindCreateToken, "Make an API token; its secret is shown once", createToken, withStatus(http.StatusCreated)),
		writeRoute(http.MethodDelete, "/v1/tokens/{id}", fsm.KindRevokeToken, "Revoke an API token", revokeToken),
	}
}

// plainRoutes write their answers themselves.
func plainRoutes() []route {
	return []route{
		healthRoute(),
		snapshotRoute(),
		{method: http.MethodGet, pattern: "/v1/events", access: access{role: fsm.RoleViewer}, status: http.StatusOK, streams: true, handle: streamEvents,
			summary: "The state's changes as server-sent events; resumable by Last-Event-ID"},
		{method: http.MethodGet, pattern: "/v1/openapi.json", access: access{role: fsm.RoleViewer}, status: http.StatusOK, handle: serveOpenAPI,
			summary: "This description"},
		{method: http.MethodGet, pattern: "/metrics", access: access{role: fsm.RoleViewer}, status: http.StatusOK, handle: serveMetrics,
			summary: "Metrics in Prometheus' text format"},
	}
}

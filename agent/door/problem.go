package door

import (
	"net/http"
	"time"

	"github.com/ushercluster/usher/agent/http1"
)

// problem is an answer that the door makes itself. Code is stable and goes into
// X-Usher-Error and the metrics; Title is for people.
type problem struct {
	Status int
	Code   string
	Title  string
	retry  time.Duration // Retry-After; 0 for none
}

// Problems. They tell nothing of nodes, addresses or errors inside.
var (
	problemMethod    = &problem{Status: http.StatusMethodNotAllowed, Code: "method", Title: "This method is not served here."}
	problemTarget    = &problem{Status: http.StatusRequestURITooLong, Code: "target_too_long", Title: "The address is longer than 8 KiB."}
	problemForm      = &problem{Status: http.StatusBadRequest, Code: "target_form", Title: "The request target must begin with a slash."}
	problemHead      = &problem{Status: http.StatusBadRequest, Code: "bad_head", Title: "The request is not HTTP/1.1 as it should be."}
	problemFields    = &problem{Status: http.StatusRequestHeaderFieldsTooLarge, Code: "too_many_fields", Title: "The request has more than 100 header fields."}
	problemNotFound  = &problem{Status: http.StatusNotFound, Code: "not_found", Title: "There is nothing here."}
	problemHandshake = &problem{Status: http.StatusBadRequest, Code: "bad_handshake", Title: "The WebSocket handshake is not as it should be."}
	problemVersion   = &problem{Status: http.StatusUpgradeRequired, Code: "websocket_version", Title: "Only WebSocket version 13 is spoken here."}
	problemTooLarge  = &problem{Status: http.StatusRequestEntityTooLarge, Code: "body_too_large", Title: "The request body is larger than allowed."}
	problemSlow      = &problem{Status: http.StatusRequestTimeout, Code: "body_stalled", Title: "The request body did not arrive in time."}
	problemSeat      = &problem{Status: http.StatusPaymentRequired, Code: "no_seat", Title: "No license seat is free for this session."}
	problemCrowd     = &problem{Status: http.StatusTooManyRequests, Code: "too_many_requests_of_address", Title: "Too many requests of your address are under way.", retry: 5 * time.Second}
	problemForeign   = &problem{Status: http.StatusForbidden, Code: "cross_site", Title: "Leave from the application's own page."}

	problemNotReady  = &problem{Status: http.StatusServiceUnavailable, Code: "not_ready", Title: "The cluster is starting. Please try again.", retry: 2 * time.Second}
	problemNoEngine  = &problem{Status: http.StatusServiceUnavailable, Code: "no_engine", Title: "No engine can take a session now. Please try again.", retry: 5 * time.Second}
	problemNoRule    = &problem{Status: http.StatusServiceUnavailable, Code: "no_engine_allowed", Title: "The rules leave no engine for this.", retry: 30 * time.Second}
	problemBusy      = &problem{Status: http.StatusServiceUnavailable, Code: "engine_unreachable", Title: "The engine does not take connections now. Please try again.", retry: 2 * time.Second}
	problemOwner     = &problem{Status: http.StatusServiceUnavailable, Code: "owner_unreachable", Title: "The server of this session cannot be reached now. Please try again.", retry: 1 * time.Second}
	problemStreams   = &problem{Status: http.StatusServiceUnavailable, Code: "too_many_requests", Title: "Too many requests are under way. Please try again.", retry: 5 * time.Second}
	problemLost      = &problem{Status: http.StatusBadGateway, Code: "connection_lost", Title: "The connection to the engine was lost before it answered.", retry: 1 * time.Second}
	problemBadAnswer = &problem{Status: http.StatusBadGateway, Code: "bad_answer", Title: "The engine's answer was not HTTP."}
	problemTimeout   = &problem{Status: http.StatusGatewayTimeout, Code: "engine_timeout", Title: "The engine did not answer in time."}
	problemInternal  = &problem{Status: http.StatusInternalServerError, Code: "internal", Title: "The door could not serve this."}
)

// bodyStalled is the reason of the short way's problemSlow.
const bodyStalled = "the body made no progress"

// problemOf is the answer to a request that is not HTTP as it should be. The reason is a
// constant phrase that holds nothing of the request.
func problemOf(bad *http1.Error) *problem {
	of := *problemHead
	switch bad.Status {
	case http.StatusMethodNotAllowed:
		return problemMethod
	case http.StatusRequestURITooLong:
		return problemTarget
	case http.StatusRequestHeaderFieldsTooLarge:
		of = *problemFields
	case http.StatusRequestTimeout:
		if bad.Reason == bodyStalled {
			return problemSlow
		}
		of.Code = "head_stalled"
	}
	of.Status = bad.Status
	of.Title = "This is not a request as it should be: " + bad.Reason + "."
	return &of
}

// problemDead is the answer while a dead engine has time to come back.
func problemDead(left time.Duration) *problem {
	return &problem{
		Status: http.StatusServiceUnavailable, Code: "engine_dead",
		Title: "The engine has stopped. It is given a moment to come back.", retry: max(left, time.Second),
	}
}

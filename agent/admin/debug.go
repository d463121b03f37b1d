package admin

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/ushercluster/usher/agent/doctor"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// Debug is what an agent shows of itself when it is looked into. What is nil is not
// there.
type Debug struct {
	// Diagnose examines the node within ctx.
	Diagnose func(ctx context.Context) ([]doctor.Line, error)
	// Reach makes a fresh connection to another node, and ends it.
	Reach func(ctx context.Context, id peer.ID) error
	// Config writes the configuration in force, without secrets.
	Config func(w io.Writer) error
	// Machine is what the process and its machine are, as JSON.
	Machine func(ctx context.Context) ([]byte, error)
	// Logs are the last lines of the log, the oldest first, and how many were before.
	Logs func() (lines [][]byte, before uint64)
	// Scrub takes secrets out of a text; nil leaves it.
	Scrub func(text []byte) []byte
}

// Bounds of a CPU profile.
const (
	leastProfile = time.Second
	mostProfile  = time.Minute
)

// debugRoutes are for whoever could attach a debugger as well: an administrator on the
// machine itself.
func debugRoutes() []route {
	plain := func(pattern, summary string, handle func(*call), as ...attribute) route {
		r := route{
			method: http.MethodGet, pattern: "/v1/debug/" + pattern, summary: summary, status: http.StatusOK,
			access: access{role: fsm.RoleAdmin, local: true}, handle: handle,
		}
		return r.with(as)
	}
	return []route{
		plain("config", "The configuration in force, without secrets (YAML)", debugConfig),
		plain("machine", "The process and its machine", debugMachine),
		plain("logs", "The last lines of the log, one JSON object a line", debugLogs),
		plain("goroutines", "What every goroutine does", debugGoroutines),
		plain("heap", "What holds memory, as text", debugHeap),
		plain("cpu", "A CPU profile in pprof's format", debugCPU, withQuery("seconds", "how long to measure, 1 to 60, 1 by default")),
	}
}

// text answers with a text from which the secrets are taken.
func (c *call) text(contentType string, body []byte) {
	if clean := c.s.cfg.Debug.Scrub; clean != nil {
		body = clean(body)
	}
	c.send(http.StatusOK, contentType, body)
}

const plainText = "text/plain; charset=utf-8"

func debugConfig(c *call) {
	show := c.s.cfg.Debug.Config
	if show == nil {
		c.fail(notFound("this agent does not show its configuration"))
		return
	}
	var b bytes.Buffer
	if err := show(&b); err != nil {
		c.fail(err)
		return
	}
	c.text("application/yaml", b.Bytes())
}

func debugMachine(c *call) {
	show := c.s.cfg.Debug.Machine
	if show == nil {
		c.fail(notFound("this agent does not describe its machine"))
		return
	}
	b, err := show(c.bounded())
	if err != nil {
		c.fail(err)
		return
	}
	c.text("application/json", b)
}

// headerBefore counts the lines that were logged and are not kept any more.
const headerBefore = "X-Usher-Lines-Before"

func debugLogs(c *call) {
	show := c.s.cfg.Debug.Logs
	if show == nil {
		c.fail(notFound("this agent keeps no lines of its log"))
		return
	}
	lines, before := show()
	c.w.Header().Set(headerBefore, strconv.FormatUint(before, 10))
	body := bytes.Join(lines, []byte("\n"))
	if len(lines) > 0 {
		body = append(body, '\n')
	}
	c.text("application/jsonl", body)
}

func debugGoroutines(c *call) { c.profile("goroutine", 2) }
func debugHeap(c *call)       { c.profile("heap", 1) }

// profile answers with one of the runtime's own, as text.
func (c *call) profile(name string, level int) {
	var b bytes.Buffer
	if err := pprof.Lookup(name).WriteTo(&b, level); err != nil {
		c.fail(err)
		return
	}
	c.text(plainText, b.Bytes())
}

// debugCPU measures for as long as it is asked to, which may be longer than other
// requests take. It holds names of functions and counts, and nothing of what they work
// on.
func debugCPU(c *call) {
	length := leastProfile
	if text := c.param("seconds"); text != "" {
		n, err := strconv.Atoi(text)
		if length = time.Duration(n) * time.Second; err != nil || length < leastProfile || length > mostProfile {
			c.fail(invalidParameter("seconds", text, "use 1 to 60"))
			return
		}
	}
	var b bytes.Buffer
	if err := pprof.StartCPUProfile(&b); err != nil {
		c.fail(retry(problem(http.StatusConflict, CodeConflict, "somebody else measures this agent now", "try again in a minute")))
		return
	}
	t := time.NewTimer(length)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	case <-c.stopping():
	}
	pprof.StopCPUProfile()
	if c.ctx.Err() != nil {
		return // nobody is left to answer
	}
	c.send(http.StatusOK, "application/octet-stream", b.Bytes())
}

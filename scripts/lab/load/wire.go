package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const maxBody = 1 << 20

// wire is one kept HTTP/1.1 connection, of one goroutine.
type wire struct {
	network, address, host string
	patience               time.Duration // for one exchange
	buffers                *sync.Pool    // of *bufio.Reader, held during an exchange alone
	conn                   net.Conn      // nil: not connected
}

func newBuffers() *sync.Pool {
	return &sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}
}

// newWire understands host:port, http://host:port and unix:/path.
func newWire(address string, patience time.Duration, buffers *sync.Pool) (*wire, error) {
	w := &wire{network: "tcp", patience: patience, buffers: buffers}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		w.network, w.address, w.host = "unix", path, "localhost"
		return w, nil
	}
	w.address = strings.TrimPrefix(address, "http://")
	w.host = w.address
	if _, _, err := net.SplitHostPort(w.address); err != nil {
		return nil, fmt.Errorf("address %q: use host:port, http://host:port or unix:/path: %w", address, err)
	}
	return w, nil
}

// address is the API of a node as admin.ClientConfig wants it.
func address(api string) string {
	if strings.HasPrefix(api, "unix:") || strings.Contains(api, "://") {
		return api
	}
	return "http://" + api
}

// answer is what came back, whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// errNotSent means that there was no connection: the request cannot have been heard.
var errNotSent = errors.New("not sent")

// do sends a request, made with the wire's host, and reads the answer. After an error the
// connection is closed; unless it is errNotSent, the request may have been carried out.
func (w *wire) do(ctx context.Context, method string, request []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, w.patience)
	defer cancel()
	if w.conn != nil && !alive(w.conn) {
		w.close()
	}
	if w.conn == nil {
		conn, err := new(net.Dialer).DialContext(ctx, w.network, w.address)
		if err != nil {
			return answer{}, fmt.Errorf("%w: %w", errNotSent, err)
		}
		w.conn = conn
	}
	conn := w.conn
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	a, keep, err := w.exchange(method, request)
	if err != nil || !keep || ctx.Err() != nil {
		w.close()
	}
	return a, err
}

func (w *wire) exchange(method string, request []byte) (a answer, keep bool, err error) {
	if _, err := w.conn.Write(request); err != nil {
		return a, false, fmt.Errorf("send: %w", err)
	}
	br := w.buffers.Get().(*bufio.Reader)
	br.Reset(w.conn)
	defer func() {
		br.Reset(nil)
		w.buffers.Put(br)
	}()
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		return a, false, fmt.Errorf("read answer: %w", err)
	}
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1)); err != nil {
		return a, false, fmt.Errorf("read answer: %w", err)
	}
	if len(a.body) > maxBody {
		return a, false, fmt.Errorf("the answer is longer than %d bytes", maxBody)
	}
	return a, !resp.Close && br.Buffered() == 0, nil
}

func (w *wire) close() {
	if w.conn != nil {
		_ = w.conn.Close()
		w.conn = nil
	}
}

// field is a field of a request's head; an empty value leaves it out.
type field struct{ name, value string }

// request makes the bytes of a request.
func (w *wire) request(method, path, body string, fields ...field) []byte {
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, w.host)
	for _, f := range fields {
		if f.value != "" {
			b = fmt.Appendf(b, "%s: %s\r\n", f.name, f.value)
		}
	}
	if body != "" {
		b = fmt.Appendf(b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	} else if method == http.MethodPost {
		b = append(b, "Content-Length: 0\r\n"...)
	}
	return append(append(b, '\r', '\n'), body...)
}

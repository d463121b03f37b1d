package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Limits of a client.
const (
	// CallTimeout bounds a call whose context has no deadline, beside what it was
	// asked to wait.
	CallTimeout = 30 * time.Second

	maxAnswer = 64 << 20
	maxError  = 64 << 10
)

// ErrUnreachable means that no admin API answered at the address: nothing was
// asked, or it is not known whether it was heard. The error around it says what
// was tried.
var ErrUnreachable = errors.New("no admin api answered")

// ClientConfig is where a Client talks to, and as whom.
type ClientConfig struct {
	// Address is "unix:/path/to/socket" or "http(s)://host:port".
	Address string
	// Token is an API token; on a socket it may be empty.
	Token string
	// TLS is used for https; nil is the system's trust.
	TLS *tls.Config
	// Dial makes the connections; nil is net.Dialer's. network is unix or tcp.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// UserAgent names the program; "" is "usher".
	UserAgent string
}

// Client calls the admin API. It is safe for concurrent use. Errors are a
// *Problem when the API refused, or wrap ErrUnreachable.
type Client struct {
	base  string // scheme://host
	where string // the address as it was given, for people
	token string
	agent string
	http  *http.Client
}

// NewClient checks the address; it connects with the first call.
func NewClient(cfg ClientConfig) (*Client, error) {
	base, network, addr, err := parseAddress(cfg.Address)
	if err != nil {
		return nil, err
	}
	dial := cfg.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial(ctx, network, addr)
		},
		TLSClientConfig:        cfg.TLS,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		IdleConnTimeout:        30 * time.Second,
		DisableCompression:     true,
	}
	c := &Client{base: base, where: cfg.Address, token: cfg.Token, agent: cfg.UserAgent, http: &http.Client{
		Transport: tr,
		// A token must not travel to wherever an answer points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if c.agent == "" {
		c.agent = "usher"
	}
	return c, nil
}

// Close lets idle connections go. Calls under way are not touched.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Address is where the client talks to, as it was configured.
func (c *Client) Address() string { return c.where }

func parseAddress(s string) (base, network, addr string, err error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		if path == "" {
			return "", "", "", fmt.Errorf("admin address %q: name the socket, as in unix:/run/usher/usher.sock", s)
		}
		return "http://localhost", "unix", path, nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", "", "", fmt.Errorf("admin address %q: use unix:/path, http://host:port or https://host:port", s)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + u.Host, "tcp", net.JoinHostPort(u.Hostname(), port), nil
}

// metaHolder is implemented by every answer: a pointer to a type with Meta inside.
type metaHolder interface{ meta() *Meta }

// call makes one request. in and out may be nil.
func (c *Client) call(ctx context.Context, method, path string, in any, out metaHolder, opts []Option) error {
	q := newQuery(opts)
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, CallTimeout+q.wait)
		defer cancel()
	}
	resp, err := c.send(ctx, method, path, in, q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return c.refusal(resp)
	}
	return c.decode(resp, out)
}

func (c *Client) send(ctx context.Context, method, path string, in any, q query) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	target := c.base + path
	if len(q.values) > 0 {
		target += "?" + q.values.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header = q.header
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("Accept", "application/json, "+problemType+", text/event-stream")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	return resp, nil
}

// unreachable tells the caller's own end of patience from the API's silence.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // the URL of a socket means nothing to people
	}
	return fmt.Errorf("%w at %s: %w", ErrUnreachable, c.where, err)
}

func (c *Client) decode(resp *http.Response, out metaHolder) error {
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("%w at %s: the answer is not usher's: %w", ErrUnreachable, c.where, err)
	}
	m := out.meta()
	m.Revision = headerNumber(resp.Header, headerIndex)
	if resp.Header.Get(headerStale) == "true" {
		m.Stale = true
		m.Age = Duration(time.Duration(headerNumber(resp.Header, headerAge)) * time.Second)
	}
	return nil
}

// refusal reads the problem document of an answer.
func (c *Client) refusal(resp *http.Response) error {
	p := new(Problem)
	mt, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	err := json.NewDecoder(io.LimitReader(resp.Body, maxError)).Decode(p)
	// A health check that fails is an answer as well, and no problem document.
	if mt != problemType || err != nil || p.Code == "" {
		return fmt.Errorf("%w at %s: something else is there: it answered %s", ErrUnreachable, c.where, resp.Status)
	}
	p.Revision = headerNumber(resp.Header, headerIndex)
	p.RetryAfter = int(headerNumber(resp.Header, "Retry-After"))
	return p
}

func headerNumber(h http.Header, key string) uint64 {
	n, err := strconv.ParseUint(h.Get(key), 10, 63)
	if err != nil {
		return 0 // absent, or not ours
	}
	return n
}

// segment escapes one path segment. Dots alone would be taken for a relative path.
func segment(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return url.PathEscape(s)
}

func get[T any, P interface {
	*T
	metaHolder
}](ctx context.Context, c *Client, path string, opts []Option) (T, error) {
	return exchange[T, P](ctx, c, http.MethodGet, path, nil, opts)
}

func exchange[T any, P interface {
	*T
	metaHolder
}](ctx context.Context, c *Client, method, path string, in any, opts []Option) (T, error) {
	var out T
	err := c.call(ctx, method, path, in, P(&out), opts)
	return out, err
}

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"
)

// task is what the driver tells the load's process to do, as JSON.
type task struct {
	Kind        kind
	Path        string
	Body, Size  int
	TLS         bool
	Roots       string // file of the proxy's certificate
	Address     string // of the proxy
	PIDs        []int
	Cookie      string // that every user sends
	Connections int
	Flying      int // requests or messages that are on their way at a time
	Sockets     int // of kinds that have WebSockets
	WarmUp      time.Duration
	Time        time.Duration
}

// runLoad does what the task says and prints a sample as JSON.
func runLoad(text string, out io.Writer) error {
	runtime.LockOSThread()
	var t task
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return fmt.Errorf("read the task: %w", err)
	}
	if err := t.verify(); err != nil {
		return fmt.Errorf("look at the first answer: %w", err)
	}
	var s sample
	var err error
	switch {
	case t.Kind == idle:
		s, err = t.idle()
	case t.TLS:
		s, err = t.secure()
	case t.Kind == messages:
		s, err = t.talk()
	default:
		s, err = t.ask()
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(s)
}

// large reports whether requests are so long that parts of them count.
func (t *task) large() bool { return t.Body+t.Size >= mib }

// requestHead is one as browsers send it, about.
func (t *task) requestHead(path, cookie string, more ...string) []byte {
	var b bytes.Buffer
	method := "GET"
	if t.Body > 0 && path == t.Path {
		method = "POST"
		more = append(more, "Content-Type: application/octet-stream", fmt.Sprintf("Content-Length: %d", t.Body))
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0)\r\n"+
		"Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n", method, path, serverName)
	if cookie != "" {
		fmt.Fprintf(&b, "Cookie: %s\r\n", cookie)
	}
	for _, line := range more {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// exchange asks once over a connection that is not part of a loop.
func exchange(s io.ReadWriter, request []byte) (*http.Response, []byte, error) {
	if _, err := s.Write(request); err != nil {
		return nil, nil, fmt.Errorf("send: %w", err)
	}
	r := bufio.NewReaderSize(s, 1<<10)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, nil, nil
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("read the body: %w", err)
	}
	if r.Buffered() > 0 {
		return nil, nil, errSurplus
	}
	return resp, body, nil
}

// introduce is a user's first request: it returns the cookies that he has from then on.
func (t *task) introduce(s io.ReadWriter) (string, error) {
	resp, body, err := exchange(s, t.requestHead("/", t.Cookie))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the first request was answered %s: %.200s", resp.Status, body)
	}
	all := []string{}
	if t.Cookie != "" {
		all = append(all, t.Cookie)
	}
	for _, c := range resp.Cookies() {
		all = append(all, c.Name+"="+c.Value)
	}
	return strings.Join(all, "; "), nil
}

// upgrade opens a WebSocket on the connection of a user.
func (t *task) upgrade(s io.ReadWriter, cookie string) error {
	resp, body, err := exchange(s, t.requestHead(t.Path, cookie,
		"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("a WebSocket was answered %s: %.200s", resp.Status, body)
	}
	return nil
}

// verify compares one answer with the engine's byte by byte; later ones are counted.
func (t *task) verify() (err error) {
	if t.Size == 0 {
		return nil
	}
	s, err := t.connect("http/1.1")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	cookie, err := t.introduce(s)
	if err != nil {
		return err
	}
	resp, body, err := exchange(s, append(t.requestHead(t.Path, cookie), pattern(t.Body)...))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !bytes.Equal(body, pattern(t.Size)) {
		return fmt.Errorf("answered %s with %d bytes that are not those of the engine: %.200s", resp.Status, len(body), body)
	}
	return nil
}

// connect opens a blocking connection, over TLS if the task says so.
func (t *task) connect(protocol string) (io.ReadWriteCloser, error) {
	if !t.TLS {
		return dial(t.Address)
	}
	config, err := t.tlsConfig(protocol)
	if err != nil {
		return nil, err
	}
	return connectTLS(t.Address, config)
}

// tlsConfig has no session cache: every handshake is a whole one. All proxies agree on
// the same key exchange, which not all would by themselves.
func (t *task) tlsConfig(protocol string) (*tls.Config, error) {
	pem, err := os.ReadFile(t.Roots)
	if err != nil {
		return nil, fmt.Errorf("read the proxy's certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("there is no certificate in %s", t.Roots)
	}
	return &tls.Config{
		RootCAs: roots, ServerName: serverName, NextProtos: []string{protocol},
		MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519},
	}, nil
}

func connectTLS(address string, config *tls.Config) (*tls.Conn, error) {
	nc, err := net.DialTimeout("tcp", address, giveUp)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	c := tls.Client(nc, config)
	_ = nc.SetDeadline(time.Now().Add(giveUp)) // of the handshake; who stays longer takes it away
	if err := c.Handshake(); err != nil {
		return nil, errors.Join(fmt.Errorf("shake hands: %w", err), nc.Close())
	}
	if got := c.ConnectionState().NegotiatedProtocol; got != config.NextProtos[0] && got != "" {
		return nil, errors.Join(fmt.Errorf("the proxy speaks %q instead of %q", got, config.NextProtos[0]), nc.Close())
	}
	return c, nil
}

package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

func TestServeEngineStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	listen := &firstLine{line: make(chan string, 1)}
	done := make(chan error, 1)
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	go func() { done <- serveEngine(ctx, hello, "127.0.0.1:0", zerolog.New(listen)) }()
	addr := listen.addr(t)
	resp, err := http.Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("it still listens")
	}
}

func TestEnginePortBusy(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f := newFixture(t)
	code, _, stderr := f.do("engine", "--documents", t.TempDir(), "--listen", ln.Addr().String())
	if code != exitFailed || !strings.Contains(stderr, "next: stop the program that has it, or choose another address with --listen") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestEngineCommandStops(t *testing.T) {
	f := newFixture(t)
	f.signal <- os.Interrupt
	if code, _, err := f.do("engine", "--documents", t.TempDir(), "--listen", "127.0.0.1:0"); code != 0 {
		t.Errorf("exit %d: %s", code, err)
	}
}

// firstLine hands over the first thing that is logged.
type firstLine struct{ line chan string }

func (l *firstLine) Write(b []byte) (int, error) {
	select {
	case l.line <- string(b):
	default:
	}
	return len(b), nil
}

func (l *firstLine) addr(t *testing.T) string {
	t.Helper()
	_, rest, ok := strings.Cut(<-l.line, `"addr":"`)
	addr, _, _ := strings.Cut(rest, `"`)
	if !ok {
		t.Fatal("no address was logged")
	}
	return addr
}

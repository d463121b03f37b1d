package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ushercluster/usher/scripts/bench"
)

// abuseTask is what the process of abusers is told.
type abuseTask struct {
	Kind     kind
	Address  string
	Cert     string // file; "": without TLS
	Count    int
	CPU      float64
	Strength float64
}

// largePath is answered with some 100 KiB.
const largePath = "/doc/sales/api/query?limit=400"

// ownAddress is where abusers come from: not from that of honest users, which the door would
// take them for. All of 127.0.0.0/8 is this machine.
const ownAddress = "127.0.0.2"

// Pauses of abusers.
const (
	dribble = time.Second            // between the bytes of slow clients
	again   = 200 * time.Millisecond // before a connection that was ended is opened again

	beginWithin = time.Minute // all of them
)

// abusers are all of a process.
type abusers struct {
	abuseTask
	tally    tally // zero is ready
	governor *governor
	tls      *tls.Config // nil: without
	cookie   string
	attempts atomic.Int64  // connections that were not taken, and acts
	there    chan struct{} // closed when there were enough of them that all have begun
}

// did counts acts, or attempts.
func (a *abusers) did(n int) {
	all := int64(a.Kind.all(a.Count))
	if now := a.attempts.Add(int64(n)); now >= all && now-int64(n) < all {
		close(a.there)
	}
}

// beAbusers abuses until in ends. It prints a line once all connections were tried, and the
// outcome at the end.
func beAbusers(text string, in io.Reader, out io.Writer) error {
	a := &abusers{there: make(chan struct{})}
	if err := json.Unmarshal([]byte(text), &a.abuseTask); err != nil {
		return fmt.Errorf("read the task: %w", err)
	}
	a.governor = &governor{rate: a.Kind.Rate * a.Strength, share: a.CPU, cpu: ownTime, began: time.Now()}
	if a.Cert != "" {
		protocol := "http/1.1"
		if a.Kind.H2 {
			protocol = "h2"
		}
		var err error
		if a.tls, err = trusting(a.Cert, protocol); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := a.login(ctx); err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	var running sync.WaitGroup
	for range a.Kind.connections(a.Count) {
		running.Go(func() { a.again(ctx) })
	}
	select {
	case <-a.there:
	case <-time.After(beginWithin):
	case <-ctx.Done():
	}
	w := bufio.NewWriter(out)
	fmt.Fprintln(w, "there")
	if err := w.Flush(); err != nil {
		cancel()
		running.Wait()
		return fmt.Errorf("say that all are there: %w", err)
	}
	running.Wait()
	return json.NewEncoder(out).Encode(a.tally.outcome())
}

// login opens the one session of all abusers: to open sessions is another abuse.
func (a *abusers) login(ctx context.Context) error {
	way := &http.Transport{DisableKeepAlives: true}
	scheme := "http://"
	if a.tls != nil {
		scheme, way.TLSClientConfig = "https://", a.tls.Clone()
		way.TLSClientConfig.NextProtos = nil
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+a.Address+"/doc/sales", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: way, Timeout: patience}).Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var all []string
	for _, c := range resp.Cookies() {
		all = append(all, c.Name+"="+c.Value)
	}
	if a.cookie = strings.Join(all, "; "); resp.StatusCode != http.StatusOK || a.cookie == "" {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return nil
}

// again keeps one connection, which is opened again when it is ended.
func (a *abusers) again(ctx context.Context) {
	for ctx.Err() == nil {
		n := 0
		if a.Kind.Hold && a.Kind.Many == 1 {
			n = 1 // the connections are the abuse, and as many a second as that may be
		}
		if a.governor.take(ctx, n) != nil {
			return
		}
		began := time.Now()
		c, err := a.connect(ctx)
		if err == nil {
			a.tally.opened()
			how := a.abuse(ctx, c)
			a.tally.ended(how, time.Since(began))
		} else if ctx.Err() == nil {
			a.tally.refused(err)
			a.did(1)
		}
		if bench.Sleep(ctx, again) != nil {
			return
		}
	}
}

func (a *abusers) connect(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ownAddress)}}
	if strings.HasPrefix(a.Kind.Name, "slow-reader") {
		d.Control = narrow
	}
	c, err := d.DialContext(ctx, "tcp", a.Address)
	if err != nil || a.tls == nil {
		return c, err
	}
	tc := tls.Client(c, a.tls)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return tc, nil
}

// narrow makes the kernels at both ends keep little of what is not read: a small window, and
// segments as they are beyond one machine. On loopback they are so large that megabytes would
// have to be asked for before the door notices anything, which would be another abuse.
func narrow(_, _ string, c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		err = errors.Join(
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096),
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, 1200),
		)
	})
	return errors.Join(cerr, err)
}

// abuse is what is done with one connection, which it closes. It says how that ended.
func (a *abusers) abuse(ctx context.Context, c net.Conn) string {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	var err error
	if a.Kind.H2 {
		err = a.abuseH2(ctx, c)
	} else {
		err = a.abuseH1(ctx, c)
	}
	if ctx.Err() != nil {
		return held
	}
	return howEnded(err)
}

// endError is an end that says more than the connection's.
type endError string

func (e endError) Error() string { return string(e) }

func howEnded(err error) string {
	var said endError
	switch {
	case errors.As(err, &said):
		return string(said)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE):
		return "closed"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	}
	return fmt.Sprintf("failed (%v)", err)
}

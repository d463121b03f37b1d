package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"

	"github.com/ushercluster/usher/scripts/bench"
)

// pipelined is how many large answers a slow reader asks for at once: more than the kernels
// keep of what is not read.
const pipelined = 3

// announced is the length of bodies that do not come: one that the door reads whole before
// it asks the engine.
const announced = 60000

func (a *abusers) head(method, path, more string) string {
	return method + " " + path + " HTTP/1.1\r\nHost: " + serverName + "\r\nCookie: " + a.cookie + "\r\n" + more
}

// abuseH1 is one slow client.
func (a *abusers) abuseH1(ctx context.Context, c net.Conn) error {
	a.did(1)
	a.tally.did(1)
	a.tally.hold(1)
	defer a.tally.hold(-1)
	switch strings.TrimSuffix(a.Kind.Name, "-tls") {
	case "slow-head":
		return a.drip(ctx, c, a.head("GET", "/doc/sales", "X-Slow: "))
	case "slow-body":
		return a.drip(ctx, c, a.head("POST", "/doc/sales", "Content-Length: 60000\r\n\r\n"))
	default:
		return a.sip(ctx, c)
	}
}

// drip sends a beginning, then a byte at a time, until the door has enough.
func (a *abusers) drip(ctx context.Context, c net.Conn, beginning string) error {
	answer := make(chan error, 1)
	go func() { answer <- a.answer(c) }()
	_, err := io.WriteString(c, beginning)
	for err == nil {
		select {
		case err = <-answer:
			return err
		default:
		}
		if err = bench.Sleep(ctx, dribble); err == nil {
			_, err = io.WriteString(c, "x")
		}
	}
	if cause := <-answer; cause != nil { // it ends with the connection, which ctx closes
		return cause
	}
	return err
}

// answer reads what the door says, to the end of the connection.
func (a *abusers) answer(c net.Conn) error {
	b, err := io.ReadAll(io.LimitReader(c, 1<<20))
	if status, ok := bytes.CutPrefix(b, []byte("HTTP/1.1 ")); ok && len(status) > 3 {
		a.tally.answered(string(status[:3]))
		return endError("answered " + string(status[:3]))
	}
	if err == nil {
		err = io.EOF
	}
	return err
}

// sip asks for much and takes little of it.
func (a *abusers) sip(ctx context.Context, c net.Conn) error {
	one := a.head("GET", largePath, "\r\n")
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c, strings.Repeat(one, pipelined))
		sent <- err
	}()
	defer func() { _ = c.Close(); <-sent }()
	b := make([]byte, 512)
	for {
		if _, err := c.Read(b); err != nil {
			return err
		}
		if err := bench.Sleep(ctx, dribble); err != nil {
			return err
		}
	}
}

package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/admin"
)

// notifier tells systemd how the agent is: see sd_notify(3). Without a service
// manager it does nothing.
type notifier struct {
	conn     net.Conn
	watchdog time.Duration // within which systemd wants a sign of life; 0: none
}

func newNotifier(env func(string) (string, bool)) (*notifier, error) {
	n := &notifier{}
	socket, _ := env("NOTIFY_SOCKET")
	if socket == "" {
		return n, nil
	}
	conn, err := net.Dial("unixgram", socket) // a leading @ is Linux's abstract name
	if err != nil {
		return n, fmt.Errorf("notify service manager: %w", err)
	}
	n.conn = conn
	text, _ := env("WATCHDOG_USEC")
	if usec, err := strconv.ParseUint(text, 10, 40); err == nil {
		n.watchdog = time.Duration(usec) * time.Microsecond
	}
	return n, nil
}

// say sends one state. A datagram to the local manager that fails is not worth
// more than its loss: the manager's own time-outs decide then.
func (n *notifier) say(state string) {
	if n.conn != nil {
		_, _ = n.conn.Write([]byte(state))
	}
}

func (n *notifier) Close() {
	if n.conn != nil {
		_ = n.conn.Close()
	}
}

// watch gives signs of life while the agent's own API answers. The caller stops it.
func (n *notifier) watch(ctx context.Context, a agent.Addrs) (stop func()) {
	if n.watchdog <= 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(n.watchdog / 3)
		defer t.Stop()
		for {
			if alive(ctx, a.Socket, n.watchdog/3) {
				n.say("WATCHDOG=1")
			}
			select {
			case <-t.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// alive asks the agent on its socket. Without one there is nobody to ask, and the
// process that runs is the sign.
func alive(ctx context.Context, socket string, patience time.Duration) bool {
	if socket == "" {
		return true
	}
	client, err := admin.NewClient(admin.ClientConfig{Address: "unix:" + socket})
	if err != nil {
		return true
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err = client.Health(ctx) // "no quorum" is an answer too
	return err == nil
}

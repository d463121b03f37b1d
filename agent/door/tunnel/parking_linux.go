package tunnel

import (
	"io"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxLoops is how many loops there are at most: each can keep a core busy.
const maxLoops = 4

// lookEvery is how often the fates of parked tunnels are looked at.
const lookEvery = time.Second

// parking spreads tunnels over loops, which it starts when it is first needed.
type parking struct {
	mu      sync.Mutex
	loops   []*loop
	next    int
	done    bool // no loops can be had, or it is closed
	stop    chan struct{}
	running sync.WaitGroup
}

// take parks a tunnel, and returns false when its connections are not plain TCP, or the
// system lacks something.
func (k *parking) take(l *Lot, t *Tunnel, cfg *Config) bool {
	client, _ := plain(cfg.Client).(*net.TCPConn)
	server, _ := cfg.Server.(*net.TCPConn)
	if client == nil || server == nil {
		return false
	}
	lp := k.loop(l)
	if lp == nil {
		return false
	}
	keepAlive(server)
	a, err := duplicate(client)
	if err != nil {
		return false
	}
	b, err := duplicate(server)
	if err != nil {
		_ = unix.Close(a)
		return false
	}
	_ = client.Close() // the descriptors are ours now
	_ = server.Close()
	p := &parked{t: t, loop: lp, timeout: orElse(cfg.WriteTimeout, writeTimeout)}
	if _, bare := cfg.Client.(*net.TCPConn); !bare {
		p.shell = cfg.Client
	}
	if s, ok := cfg.Client.(interface{ Part() io.Closer }); ok {
		p.shell = s.Part()
	}
	p.ends[atClient] = end{p: p, fd: int32(a), from: &t.up}
	p.ends[atServer] = end{p: p, fd: int32(b), from: &t.down}
	t.up.out, t.down.out = &p.ends[atServer], &p.ends[atClient]
	lp.arrive(arrival{p, [2][]byte{cfg.ClientBuffered, cfg.ServerBuffered}})
	return true
}

// loop is the one that the next tunnel belongs to.
func (k *parking) loop(l *Lot) *loop {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.done {
		return nil
	}
	if k.loops == nil {
		for range min(maxLoops, runtime.GOMAXPROCS(0)) {
			lp, err := newLoop(l)
			if err != nil {
				break
			}
			k.loops = append(k.loops, lp)
		}
		if k.done = len(k.loops) == 0; k.done {
			return nil
		}
		k.stop = make(chan struct{})
		loops, stop := k.loops, k.stop
		k.running.Go(func() { tick(loops, stop) })
		for _, lp := range k.loops {
			k.running.Go(lp.run)
		}
	}
	k.next = (k.next + 1) % len(k.loops)
	return k.loops[k.next]
}

// tick has the loops look at their tunnels.
func tick(loops []*loop, stop <-chan struct{}) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
			for _, lp := range loops {
				lp.look()
			}
		}
	}
}

// close cuts what is parked, and ends the loops.
func (k *parking) close() {
	k.mu.Lock()
	k.done = true
	loops := k.loops
	k.loops = nil
	k.mu.Unlock()
	if loops == nil {
		return
	}
	close(k.stop)
	for _, lp := range loops {
		lp.close()
	}
	k.running.Wait()
}

// plain is nc, or the connection that it is a mere wrapper of.
func plain(nc net.Conn) net.Conn {
	if w, ok := nc.(interface{ Direct() net.Conn }); ok {
		return w.Direct()
	}
	return nc
}

// duplicate makes a second descriptor of a connection, which does not block, as the first.
func duplicate(tc *net.TCPConn) (fd int, err error) {
	raw, err := tc.SyscallConn()
	if err != nil {
		return -1, err
	}
	if cerr := raw.Control(func(own uintptr) {
		fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0)
	}); cerr != nil {
		return -1, cerr
	}
	return fd, err
}

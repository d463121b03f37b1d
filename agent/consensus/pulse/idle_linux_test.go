package pulse

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"flag"
	"fmt"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ushercluster/usher/agent/peer"
)

// idleTime is given by scripts/bench.sh pulse: nothing else must run while it is measured.
var idleTime = flag.Duration("idle", 0, "how long TestIdleCost measures; 0: not at all")

// idleGoal is what a node of five may spend on the pulse while nothing happens: a share
// of one core.
const idleGoal = 0.002

// TestIdleCost runs five hubs over TLS on loopback and takes the processor time of the whole
// process, TLS and kernel included.
func TestIdleCost(t *testing.T) {
	if *idleTime <= 0 {
		t.Skip("SKIPPED: scripts/bench.sh pulse measures it")
	}
	const n = 5
	conf := selfSigned(t)
	lns, addrs := make([]net.Listener, n), map[peer.ID]string{}
	all := ids("abcde")
	for i, id := range all {
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		lns[i], addrs[id] = tls.NewListener(ln, conf), ln.Addr().String()
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	hubs := make([]*Hub, n)
	for i, id := range all {
		var others []peer.ID
		for _, o := range all {
			if o != id {
				others = append(others, o)
			}
		}
		hubs[i] = New(Config{
			Self: id, Boot: 1, Listener: lns[i], Peers: func() []peer.ID { return others }, Facts: func() Facts { return Facts{Term: 1} },
			Remote: func(c net.Conn) (peer.ID, bool) {
				s, ok := c.(*tls.Conn)
				if !ok || s.HandshakeContext(ctx) != nil {
					return "", false
				}
				return peer.ID(s.ConnectionState().ServerName), true
			},
			Dial: func(ctx context.Context, to peer.ID) (net.Conn, error) {
				own := conf.Clone()
				own.ServerName = string(id) // tells who dials
				return (&tls.Dialer{Config: own}).DialContext(ctx, "tcp", addrs[to])
			},
		})
		wg.Go(func() {
			if err := hubs[i].Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	defer wg.Wait()
	defer cancel()
	connected := func() bool {
		for i, h := range hubs {
			for j, id := range all {
				if i != j && !h.Alive(id) {
					return false
				}
			}
		}
		return true
	}
	for end := time.Now().Add(20 * time.Second); !connected(); {
		if time.Now().After(end) {
			t.Fatal("the servers do not reach each other")
		}
		<-time.After(10 * time.Millisecond)
	}
	before, began := processorTime(t), time.Now()
	<-time.After(*idleTime)
	spent := float64(processorTime(t)-before) / float64(time.Since(began)) / n
	fmt.Printf("pulse of five idle nodes over %v: %.3f %% of a core on each, goal %.1f %%\n", *idleTime, 100*spent, 100*idleGoal)
	if spent > idleGoal {
		t.Error("the goal is missed")
	}
	if !connected() {
		t.Error("connections were lost meanwhile")
	}
}

// processorTime is getrusage(2), user and system.
func processorTime(t *testing.T) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func selfSigned(t *testing.T) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pulse"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, // what is checked costs at the start alone
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
}

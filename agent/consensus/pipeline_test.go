package consensus

import (
	"context"
	"fmt"
	"net"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport/memnet"
)

// TestPipelineEndsWithItsReader does what Raft does: its reader leaves with the first
// answer that is a refusal or of a later term, while its sender sends. Without an end of
// the pipeline's own the sender waits for ever.
func TestPipelineEndsWithItsReader(t *testing.T) {
	for _, answer := range []raft.AppendEntriesResponse{{Term: 1, Success: false}, {Term: 2, Success: true}} {
		t.Run(fmt.Sprintf("term %d, success %v", answer.Term, answer.Success), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := pipelineTo(t, func(n int) raft.AppendEntriesResponse {
					if n == 3 {
						return answer
					}
					return raft.AppendEntriesResponse{Term: 1, Success: true}
				})
				read := make(chan int)
				go func() {
					n := 0
					for a := range p.Consumer() {
						if n++; last(a) {
							break
						}
					}
					read <- n
				}()
				var err error
				sent := 0
				for ; err == nil && sent < 100; sent++ {
					_, err = p.AppendEntries(&raft.AppendEntriesRequest{Term: 1}, new(raft.AppendEntriesResponse))
				}
				if err == nil {
					t.Error("it goes on behind an answer that nobody reads")
				}
				if n := <-read; n != 3 {
					t.Errorf("%d answers, want 3", n)
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestPipelineCloses ends a pipeline whose answers nobody reads.
func TestPipelineCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pipelineTo(t, func(int) raft.AppendEntriesResponse { return raft.AppendEntriesResponse{Term: 1, Success: true} })
		if _, err := p.AppendEntries(&raft.AppendEntriesRequest{Term: 1}, new(raft.AppendEntriesResponse)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for range 2 {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := p.AppendEntries(&raft.AppendEntriesRequest{Term: 1}, new(raft.AppendEntriesResponse)); err == nil {
			t.Error("a closed one takes more")
		}
	})
}

// calm is a server whose disk is well.
type calm struct{ side }

func (calm) stuck() bool { return false }

// pipelineTo is a pipeline to a server that gives the n-th request, from 1, that answer.
func pipelineTo(t *testing.T, answer func(n int) raft.AppendEntriesResponse) raft.AppendPipeline {
	t.Helper()
	network := memnet.New()
	open := func(name, ip string) *wrapper {
		host := network.Host(name, ip)
		ln, err := host.Listen(t.Context(), "tcp", ":14747")
		if err != nil {
			t.Fatal(err)
		}
		w := newWrapper(peer.ID(name), &stream{Listener: ln, dial: func(ctx context.Context, _ peer.ID) (net.Conn, error) {
			return host.DialContext(ctx, "tcp", "10.0.0.2:14747")
		}}, hclog.NewNullLogger(), calm{})
		t.Cleanup(func() {
			if err := w.NetworkTransport.Close(); err != nil {
				t.Error(err)
			}
		})
		return w
	}
	client, server := open("a", "10.0.0.1"), open("b", "10.0.0.2")
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	go func() {
		for n := 1; ; n++ {
			select {
			case rpc := <-server.NetworkTransport.Consumer():
				resp := answer(n)
				rpc.Respond(&resp, nil)
			case <-stop:
				return
			}
		}
	}()
	p, err := client.AppendEntriesPipeline("b", "b")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

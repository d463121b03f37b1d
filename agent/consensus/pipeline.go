package consensus

import (
	"sync"

	"github.com/hashicorp/raft"
)

// pipeline is Raft's, with an end. Raft's reader of the answers leaves when one of them is
// a refusal, or of a later term. If its sender is about to send then, both of the
// pipeline's ends wait for a reader that will never come: the follower gets heartbeats and
// no entry any more for as long as the leader leads, and Raft cannot be shut down
// (raft#612). So a pipeline closes itself behind such an answer; the sender gets an error
// and begins anew.
type pipeline struct {
	raft.AppendPipeline
	stuck   func() bool
	answers chan raft.AppendFuture
	stop    chan struct{}
	once    sync.Once
	ended   chan struct{} // no goroutine of it is left
}

// AppendEntriesPipeline implements raft.Transport.
func (w *wrapper) AppendEntriesPipeline(id raft.ServerID, to raft.ServerAddress) (raft.AppendPipeline, error) {
	inner, err := w.NetworkTransport.AppendEntriesPipeline(id, to)
	if err != nil {
		return nil, err
	}
	p := &pipeline{AppendPipeline: inner, stuck: w.side.stuck, answers: make(chan raft.AppendFuture), stop: make(chan struct{}), ended: make(chan struct{})}
	go p.pass()
	return p, nil
}

// pass hands answers on until Raft reads no more of them.
func (p *pipeline) pass() {
	defer close(p.ended)
	for {
		select {
		case a := <-p.AppendPipeline.Consumer():
			select {
			case p.answers <- a:
			case <-p.stop:
				return
			}
			if last(a) {
				_ = p.AppendPipeline.Close() // it returns nothing else than nil; Close comes again
				return
			}
		case <-p.stop:
			return
		}
	}
}

// last reports whether Raft reads nothing after an answer.
func last(a raft.AppendFuture) bool {
	return !a.Response().Success || a.Response().Term > a.Request().Term
}

// AppendEntries implements raft.AppendPipeline. A leader whose disk hangs sends nothing.
func (p *pipeline) AppendEntries(req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if p.stuck() {
		return nil, errStuck
	}
	return p.AppendPipeline.AppendEntries(req, resp)
}

// Consumer implements raft.AppendPipeline.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.answers }

// Close implements raft.AppendPipeline.
func (p *pipeline) Close() error {
	p.once.Do(func() { close(p.stop) })
	err := p.AppendPipeline.Close()
	<-p.ended
	return err
}

//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// valueBytes is about the length of one of our commands in the log.
const valueBytes = 122

// etcd is a cluster of members; the writers are in the client's process.
type etcd struct {
	*bench.Etcd
}

func openEtcd(ctx context.Context, b bench.EtcdBinaries, dir string, n int) (target, error) {
	e, err := bench.OpenEtcd(ctx, b, dir, n)
	if err != nil {
		return nil, err
	}
	return &etcd{Etcd: e}, nil
}

func (e *etcd) ask(ctx context.Context, q bench.EtcdAsk) (bench.EtcdTold, error) {
	return e.Client.Ask(ctx, q, nil)
}

func (e *etcd) leader(ctx context.Context) (int, error) {
	told, err := e.ask(ctx, bench.EtcdAsk{Do: "leader"})
	return told.Leader, err
}

func (e *etcd) succeeded(ctx context.Context, i int) error {
	now, err := e.leader(ctx)
	if err == nil && now == i {
		err = fmt.Errorf("%d still leads", i)
	}
	return err
}

func (e *etcd) member(i int) *bench.Process { return e.Members[i] }

func (e *etcd) write(ctx context.Context, workers int) error {
	_, err := e.ask(ctx, bench.EtcdAsk{Do: "write", Workers: workers, ValueBytes: valueBytes})
	return err
}

func (e *etcd) avoid(ctx context.Context, i int) error {
	_, err := e.ask(ctx, bench.EtcdAsk{Do: "avoid", Member: i})
	return err
}

func (e *etcd) pause(ctx context.Context, on bool) error {
	do := "resume"
	if on {
		do = "pause"
	}
	_, err := e.ask(ctx, bench.EtcdAsk{Do: do})
	return err
}

func (e *etcd) recovered(ctx context.Context, after time.Time) (bench.Span, error) {
	told, err := e.ask(ctx, bench.EtcdAsk{Do: "recovered", After: after.UnixNano()})
	return bench.Span{From: told.Began, To: told.Ended, Acks: told.Acks, Fresh: told.Fresh}, err
}

func (e *etcd) move(ctx context.Context) (bench.Span, error) {
	told, err := e.ask(ctx, bench.EtcdAsk{Do: "move"})
	return bench.Span{From: told.Began, To: told.Ended, Acks: told.Acks, Fresh: told.Fresh}, err
}

func (e *etcd) caughtUp(ctx context.Context, i int) error {
	_, err := e.ask(ctx, bench.EtcdAsk{Do: "caught-up", Member: i})
	return err
}

func (e *etcd) finish(ctx context.Context) (tally, error) {
	told, err := e.ask(ctx, bench.EtcdAsk{Do: "finish"})
	return tally{acknowledged: told.Writes, unknown: told.Unknown}, err
}

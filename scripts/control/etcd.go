//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// etcd is three members.
type etcd struct {
	*bench.Etcd
	valueBytes int
}

func openEtcd(ctx context.Context, o options, dir string, valueBytes int) (cluster, error) {
	e, err := bench.OpenEtcd(ctx, o.etcd, dir, nodes)
	if err != nil {
		return nil, err
	}
	return &etcd{e, valueBytes}, nil
}

func (e *etcd) measure(ctx context.Context, what scenario, d time.Duration) (sample, error) {
	leads, err := e.Client.Ask(ctx, bench.EtcdAsk{Do: "leader"}, nil)
	if err != nil {
		return sample{}, err
	}
	at := leads.Leader
	if what.follower {
		at = (at + 1) % len(e.Members)
	}
	var marks []mark
	told, err := e.Client.Ask(ctx, bench.EtcdAsk{
		Do: "measure", Kind: string(what.kind), Workers: what.workers, Member: at,
		Keys: bench.Keys, ValueBytes: e.valueBytes, Warm: warmUp, Time: d,
	}, func(string) error {
		m, err := takeMark(ctx, e.PIDs(), e.Client.PID())
		marks = append(marks, m)
		return err
	})
	if err != nil {
		return sample{}, err
	}
	if len(marks) != 2 {
		return sample{}, fmt.Errorf("%d moments were told, want the begin and the end", len(marks))
	}
	return newSample(told.Latencies, time.Duration(told.Ended-told.Began), marks[1].servers-marks[0].servers, marks[1].client-marks[0].client)
}

// verify leaves etcd's own promises to etcd.
func (e *etcd) verify(context.Context) error { return nil }

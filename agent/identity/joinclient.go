package identity

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
)

const (
	joinPauseFirst = time.Second
	joinPauseMost  = 15 * time.Second
)

// JoinConfig is what Join needs. Dial, Lookup, Addrs, Token and Pending are
// required.
type JoinConfig struct {
	Dial    func(ctx context.Context, addr string) (net.Conn, error) // raw TCP to IP:port
	Lookup  func(ctx context.Context, host string) ([]string, error)
	Addrs   []string // host or host:port of servers; the port is 14747 if left out
	Token   JoinToken
	Pending Pending // made by Dir.Prepare with the token's ID
	// Request holds what the caller says of the node: Name, Class, Advertise,
	// Door, Boot, Nonce, FeatureLevel and UsherVersion. Join fills in the rest.
	Request  JoinRequest
	Now      func() time.Time // nil is time.Now
	Log      zerolog.Logger
	Progress func(line string) // what people shall see while they wait; may be nil
}

// Join asks the servers at Addrs in turn until one lets this machine in, resolving
// names anew in each round, with pauses of 1 s doubling to 15 s between rounds. It
// ends with an error when ctx ends, when the cluster refuses for good (a JoinError),
// when an address belongs to another cluster (ErrOtherCluster), or when the answer
// does not hold (ErrBadAnswer). The caller saves the Node; until then, joining again
// with the same Pending gives the same node.
func Join(ctx context.Context, cfg JoinConfig) (Node, JoinAnswer, error) {
	j, err := newJoiner(cfg)
	if err != nil {
		return Node{}, JoinAnswer{}, fmt.Errorf("join: %w", err)
	}
	for round := 0; ; round++ {
		node, answer, err := j.round(ctx)
		if err == nil {
			return node, answer, nil
		}
		if permanent(err) {
			return Node{}, JoinAnswer{}, fmt.Errorf("join: %w", err)
		}
		wait := joinPause(round, rand.Uint64())
		j.say(fmt.Sprintf("not joined yet; trying again in %s", wait.Round(100*time.Millisecond)))
		if sleepErr := sleep(ctx, wait); sleepErr != nil {
			return Node{}, JoinAnswer{}, fmt.Errorf("join: %w; the last try: %w", sleepErr, err)
		}
	}
}

// joiner is one call of Join.
type joiner struct {
	cfg     JoinConfig
	targets []target
	request JoinRequest // but for the time
	said    map[string]bool
}

func newJoiner(cfg JoinConfig) (*joiner, error) {
	if cfg.Token.secret == nil || cfg.Pending.Key == nil {
		return nil, errors.New("a join token and prepared keys are needed")
	}
	if id := cfg.Pending.TokenID; id != cfg.Token.id {
		return nil, fmt.Errorf("the keys were prepared for join token %q, and this is %q", id, cfg.Token.id)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	j := &joiner{cfg: cfg, said: make(map[string]bool)}
	for _, addr := range cfg.Addrs {
		t, err := parseTarget(addr)
		if err != nil {
			return nil, err
		}
		j.targets = append(j.targets, t)
	}
	if len(j.targets) == 0 {
		return nil, errors.New("there is no address to join: name at least one server of the cluster")
	}
	csr, err := cfg.Pending.CSR()
	if err != nil {
		return nil, err
	}
	r := cfg.Request
	r.Version, r.TokenID, r.Secret = JoinVersion, cfg.Token.id, cfg.Token.secret.bytes()
	r.NodeID, r.CSR, r.SealKey = cfg.Pending.ID, csr, cfg.Pending.SealKey.Public()
	r.Time = cfg.Now().UTC()
	if bad := r.check(); bad != nil {
		return nil, bad
	}
	j.request = r
	return j, nil
}

// round tries every address once.
func (j *joiner) round(ctx context.Context) (Node, JoinAnswer, error) {
	var failed error
	for _, t := range j.targets {
		addrs, err := j.resolve(ctx, t)
		if err != nil {
			failed = errors.Join(failed, j.failure(t.String(), err))
			continue
		}
		for _, addr := range addrs {
			node, answer, err := j.try(ctx, addr)
			if err == nil {
				return node, answer, nil
			}
			err = j.failure(addr, err)
			if permanent(err) {
				return Node{}, JoinAnswer{}, err
			}
			failed = errors.Join(failed, err)
			if ctx.Err() != nil {
				return Node{}, JoinAnswer{}, failed
			}
		}
	}
	return Node{}, JoinAnswer{}, failed
}

// failure names the address and tells people, once each.
func (j *joiner) failure(addr string, err error) error {
	j.cfg.Log.Debug().Err(err).Str(logs.Addr, addr).Msg("join attempt failed")
	err = fmt.Errorf("%s: %w", addr, err)
	if line := err.Error(); !permanent(err) && !j.said[line] {
		j.said[line] = true
		j.say(line)
	}
	return err
}

func (j *joiner) say(line string) {
	if j.cfg.Progress != nil {
		j.cfg.Progress(line)
	}
}

// permanent reports whether trying again would be of no use.
func permanent(err error) bool {
	if refused, ok := errors.AsType[*JoinError](err); ok {
		return !refused.Passing()
	}
	return errors.Is(err, ErrOtherCluster) || errors.Is(err, ErrBadAnswer)
}

// joinPause is the pause after a round, counted from 0: doubling, and between half
// and all of that, so that machines started together spread out. random is uniform.
func joinPause(round int, random uint64) time.Duration {
	d := joinPauseMost
	if round < 4 {
		d = joinPauseFirst << round
	}
	half := d / 2
	return half + time.Duration(random%uint64(half+1))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Command etcdbench drives an etcd cluster for ../control and ../failover with etcd's
// own client. It is a module of its own, so that etcd is no dependency of usher; the
// same module pins the etcd that is measured (go tool server).
//
// The one argument names the members, host:port with commas. It reads questions as
// lines of JSON on standard input and answers each with lines of JSON on standard
// output, the last of which has the event "done" or an error. It ends with its input.
//
//	setup      wait for a leader, make the user that writes, switch authentication on
//	leader     which member leads, by position
//	caught-up  wait until a member has applied what the leader has committed now
//	measure    kind put, get or stale, by workers at a member: events begin and end
//	           around the time that counts, then the latency of everything acknowledged in it
//	write      start background writers
//	avoid      they keep away from a member (-1: from none)
//	pause      they stop after what they do now; resume lets them go on
//	recovered  wait until a write that began after the time given is acknowledged, and a
//	           second more; answers when writes were acknowledged since
//	move       move the leadership to another member; answers likewise from then to a second later
//	finish     stop the writers; an error if anything acknowledged is lost
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "etcdbench: name the members: host:port,host:port,...")
		os.Exit(2)
	}
	s := &session{members: strings.Split(os.Args[1], ","), out: json.NewEncoder(os.Stdout)}
	err := s.run(context.Background(), bufio.NewReader(os.Stdin))
	s.close()
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcdbench: "+err.Error())
		os.Exit(1)
	}
}

// question and answer are the other half of EtcdAsk and EtcdTold in ../bench.
type question struct {
	Do         string        `json:"do"`
	Kind       string        `json:"kind"`
	Workers    int           `json:"workers"`
	Member     int           `json:"member"`
	Keys       int           `json:"keys"`
	ValueBytes int           `json:"value_bytes"`
	Warm       time.Duration `json:"warm"`
	Time       time.Duration `json:"time"`
	After      int64         `json:"after"`
}

type answer struct {
	Event     string          `json:"event"`
	Error     string          `json:"error,omitempty"`
	Leader    int             `json:"leader"`
	Latencies []time.Duration `json:"latencies,omitempty"`
	Began     int64           `json:"began,omitempty"`
	Ended     int64           `json:"ended,omitempty"`
	Acks      []int64         `json:"acks,omitempty"`
	Fresh     int64           `json:"fresh"`
	Writes    int             `json:"writes,omitempty"`
	Unknown   int             `json:"unknown,omitempty"`
}

// session is everything that lives between questions.
type session struct {
	members []string
	out     *json.Encoder
	admin   clients // one client for each member, as root once there is one
	writers *writers
}

// run answers until the input ends.
func (s *session) run(ctx context.Context, in *bufio.Reader) error {
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return nil // whoever asks has gone
		}
		var q question
		if err := json.Unmarshal(line, &q); err != nil {
			return fmt.Errorf("read question: %w", err)
		}
		a, err := s.answer(ctx, q)
		a.Event = "done"
		if err != nil {
			a = answer{Error: err.Error()}
		}
		if err := s.out.Encode(a); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
}

func (s *session) answer(ctx context.Context, q question) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, q.Warm+q.Time+2*time.Minute)
	defer cancel()
	if s.writers == nil {
		switch q.Do {
		case "avoid", "pause", "resume", "recovered", "move", "finish":
			return answer{}, fmt.Errorf("%s: nobody writes", q.Do)
		}
	}
	switch q.Do {
	case "setup":
		return answer{}, s.setUp(ctx)
	case "leader":
		leader, err := s.leader(ctx)
		return answer{Leader: leader}, err
	case "caught-up":
		return answer{}, s.caughtUp(ctx, q.Member)
	case "measure":
		return s.measure(ctx, q)
	case "write":
		return answer{}, s.write(q)
	case "avoid":
		s.writers.avoid.Store(int64(q.Member))
	case "pause", "resume":
		s.writers.paused.Store(q.Do == "pause")
	case "recovered":
		return s.writers.recovered(ctx, q.After)
	case "move":
		return s.move(ctx)
	case "finish":
		return s.finish(ctx)
	default:
		return answer{}, fmt.Errorf("unknown question")
	}
	return answer{}, nil
}

func (s *session) close() {
	if s.writers != nil {
		s.writers.stop()
	}
	s.admin.close()
}

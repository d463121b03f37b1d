package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// demoTest is a demonstration under test.
type demoTest struct {
	*fixture
	temp  string
	out   *bufio.Reader
	errs  *bufio.Reader
	ended chan int
}

// startDemo runs the command with stubs and waits for its line.
func startDemo(t *testing.T, nodes int, args ...string) (*demoTest, demoReady) {
	t.Helper()
	d := newDemoTest(t, nodes)
	outR, outW := io.Pipe()
	errR, errW := io.Pipe()
	d.stdout, d.stderr = outW, errW
	d.out, d.errs = bufio.NewReader(outR), bufio.NewReader(errR)
	go func() {
		d.ended <- d.run(append([]string{"demo", "--output", "json", "--nodes", fmt.Sprint(nodes)}, args...))
		_ = errors.Join(outW.Close(), errW.Close())
	}()
	quiet := make(chan struct{})
	go func() {
		defer close(quiet)
		d.untilReady()
	}()
	ready := readReady(t, d.out)
	<-quiet
	return d, ready
}

func newDemoTest(t *testing.T, nodes int) *demoTest {
	t.Helper()
	d := &demoTest{fixture: newFixture(t), temp: t.TempDir(), ended: make(chan int, 1)}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", d.temp)
	t.Setenv("TMP", d.temp)
	t.Setenv("STUB_NODES", fmt.Sprint(nodes))
	t.Setenv(stubEnv, "agent")
	d.executable, d.program.machine = self, stubMachine{}
	return d
}

// untilReady drops the progress: the pipe has no buffer.
func (d *demoTest) untilReady() {
	for {
		line, err := d.errs.ReadString('\n')
		if err != nil || strings.Contains(line, "become voters") {
			return
		}
	}
}

func readReady(t *testing.T, r *bufio.Reader) demoReady {
	t.Helper()
	line, err := r.ReadString('\n')
	var ready demoReady
	if err := errors.Join(err, json.Unmarshal([]byte(line), &ready)); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return ready
}

// hold connects to an agent. What it returns ends when the agent's process does.
func hold(t *testing.T, api string) func() {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(api, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET /hang HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		_, err := io.Copy(io.Discard, conn)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("the agent at %s still runs", api)
		}
		_ = conn.Close()
	}
}

func (d *demoTest) nothingLeft(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(d.temp)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("%s is left", e.Name())
	}
}

func (d *demoTest) stop(t *testing.T, s os.Signal) {
	t.Helper()
	d.signal <- s
	go func() { _, _ = io.Copy(io.Discard, d.errs) }()
	if code := <-d.ended; code != exitDone {
		t.Errorf("exit %d", code)
	}
	d.nothingLeft(t)
}

func TestDemoReadyAndStopped(t *testing.T) {
	d, ready := startDemo(t, 3)
	if ready.Cluster != "demo" || ready.Token != "usht_stub" || len(ready.Nodes) != 3 {
		t.Fatalf("ready: %+v", ready)
	}
	var gone []func()
	for i, n := range ready.Nodes {
		if n.ID != stubID(i) || n.Name != fmt.Sprintf("node-%d", i+1) || n.PID == 0 || n.Engine != "http://127.0.0.1:1" {
			t.Errorf("node %d: %+v", i, n)
		}
		if !strings.HasPrefix(n.DataDir, d.temp) || n.Door == n.API || !strings.HasPrefix(n.Door, "http://127.0.0.1:") {
			t.Errorf("node %d: %+v", i, n)
		}
		gone = append(gone, hold(t, n.API))
	}
	docs, _ := filepath.Glob(filepath.Join(d.temp, demoPrefix+"*", "documents", "*.csv"))
	if len(docs) != 4 {
		t.Errorf("documents: %v", docs)
	}
	d.stop(t, os.Interrupt)
	for _, g := range gone {
		g()
	}
}

func TestDemoEnv(t *testing.T) {
	d, ready := startDemo(t, 1)
	other := newFixture(t)
	code, out, err := other.do("demo", "env")
	want := "export USHER_ADDRESS=" + ready.Nodes[0].API + "\nexport USHER_TOKEN=usht_stub\n"
	if code != 0 || out != want {
		t.Errorf("exit %d: %q, want %q\n%s", code, out, want, err)
	}
	if code, _, err := other.do("demo", "env", "--port-base", "1"); code != exitFailed || !strings.Contains(err, "ports from 1 on") {
		t.Errorf("another base: exit %d: %s", code, err)
	}
	dirs := demoDirs(d.temp)
	if len(dirs) != 1 {
		t.Fatal(dirs)
	}
	if info, err := os.Stat(dirs[0]); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	d.stop(t, os.Interrupt)
	if code, _, err := other.do("demo", "env"); code != exitFailed || !strings.Contains(err, "next: start one with usher demo") {
		t.Errorf("after its end: exit %d: %s", code, err)
	}
}

// A node that the user kills stays dead until the printed command starts it again,
// and that one too ends with the demonstration.
func TestDemoNodeKilledAndStartedAgain(t *testing.T) {
	d, ready := startDemo(t, 2)
	victim := ready.Nodes[1]
	gone := hold(t, victim.API)
	if err := kill(victim.PID); err != nil {
		t.Fatal(err)
	}
	gone()
	told := ""
	for range 2 {
		line, err := d.errs.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		told += line
	}
	if !strings.Contains(told, fmt.Sprintf("node-2 (process %d) ended", victim.PID)) || !strings.Contains(told, victim.Start) {
		t.Errorf("told %q", told)
	}
	words := strings.Fields(victim.Start) // nothing in it needs quoting here
	again := exec.Command(words[0], words[1:]...)
	out, err := again.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "the stub runs\n" {
		t.Errorf("started again: %q, %v", line, err)
	}
	d.stop(t, os.Interrupt)
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Error(err)
	}
	if err := again.Wait(); err != nil {
		t.Errorf("started again: %v", err)
	}
	if code, _, err := newFixture(t).do(words[1:]...); code != exitPermanent || !strings.Contains(err, "is over") {
		t.Errorf("started after the end: exit %d: %s", code, err)
	}
}

func TestDemoThatCannotStart(t *testing.T) {
	d := newDemoTest(t, 3)
	t.Setenv(stubEnv, "broken")
	code, out, err := d.do("demo", "--output", "json")
	if code != exitFailed || out != "" || !strings.Contains(err, "node-1 ended too early (exit status 3)") || !strings.Contains(err, "broken on purpose") {
		t.Errorf("exit %d: %s%s", code, out, err)
	}
	d.nothingLeft(t)
}

func TestDemoInterruptedWhileItStarts(t *testing.T) {
	d := newDemoTest(t, 3)
	t.Setenv("STUB_NODES", "0") // it will never be whole
	d.signal <- syscall.SIGTERM
	if code, _, err := d.do("demo"); code != exitFailed || !strings.Contains(err, "interrupted") {
		t.Errorf("exit %d: %s", code, err)
	}
	d.nothingLeft(t)
}

func TestDemoWithoutDocuments(t *testing.T) {
	d := newDemoTest(t, 1)
	code, _, err := d.do("demo", "--documents", t.TempDir())
	if code != exitUsage || !strings.Contains(err, "there is no CSV file") {
		t.Errorf("exit %d: %s", code, err)
	}
	d.nothingLeft(t)
}

func TestDemoPorts(t *testing.T) {
	base, claim, err := claimPorts(3, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer claim.Close()
	// Nothing listens on the ports of the first one yet, and they are its own.
	next, other, err := claimPorts(3, 0)
	if err != nil || next <= base {
		t.Fatalf("two have the block at %d: %v", next, err)
	}
	if _, _, err := claimPorts(3, base); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("port %d is in use", base+portClaim)) {
		t.Errorf("a block that is taken: %v", err)
	}
	_ = other.Close()
	ln, err := net.Listen("tcp", loopbackAddr(next+portsPerNode+portCluster))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, _, err := claimPorts(3, next); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("port %d is in use", next+portsPerNode+portCluster)) {
		t.Errorf("a busy port: %v", err)
	}
	again, other, err := claimPorts(1, next)
	if err != nil || again != next {
		t.Fatalf("what was refused is still held: %v", err)
	}
	_ = other.Close()
}

func TestDemoSweepsOnlyWhatIsDead(t *testing.T) {
	temp := t.TempDir()
	make := func(name, file string) string {
		dir := filepath.Join(temp, name)
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, file), []byte("{}"), 0o600)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dead, alive := make(demoPrefix+"1", stateName), make(demoPrefix+"2", stateName)
	stranger, other := make(demoPrefix+"3", "thesis.txt"), make("something", stateName)
	l, err := holdLeash(alive)
	if err != nil {
		t.Fatal(err)
	}
	defer l.release(time.Second)
	sweepDemos(temp)
	for dir, want := range map[string]bool{dead: false, alive: true, stranger: true, other: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", filepath.Base(dir), err == nil, want)
		}
	}
}

// Of several the newest that is ready is pointed at; one that starts, if there is no
// other, is named as that.
func TestNewestDemo(t *testing.T) {
	temp := t.TempDir()
	put := func(name string, base int, age time.Duration, ready, lives bool) {
		t.Helper()
		d := &demo{p: newFixture(t).program, dir: filepath.Join(temp, demoPrefix+name), base: base, began: ago(age)}
		if err := os.Mkdir(d.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if lives {
			l, err := holdLeash(d.dir)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.release(time.Second) })
		}
		var r *demoReady
		if ready {
			r = &demoReady{Token: name, Nodes: []readyNode{{Name: "node-1"}}}
		}
		if err := d.writeState(r); err != nil {
			t.Fatal(err)
		}
	}
	put("old", 1, time.Hour, true, true)
	put("new", 2, time.Minute, true, true)
	put("starts", 3, time.Second, false, true)
	put("dead", 4, time.Millisecond, true, false)
	for base, want := range map[int]string{0: "new", 1: "old", 2: "new"} {
		if s, found := newestDemo(temp, base); !found || !s.ready() || s.Ready.Token != want {
			t.Errorf("at %d: %+v, want %s", base, s, want)
		}
	}
	if s, found := newestDemo(temp, 3); !found || s.ready() {
		t.Errorf("one that starts: %+v, %v", s, found)
	}
	if s, found := newestDemo(temp, 4); found {
		t.Errorf("one that is dead: %+v", s)
	}
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp)
	code, _, err := newFixture(t).do("demo", "env", "--port-base", "3")
	if want := fmt.Sprintf("usher: the demonstration at ports from 3 on (process %d) is still starting\nnext: ", os.Getpid()); code != exitFailed || !strings.HasPrefix(err, want) {
		t.Errorf("exit %d: %s", code, err)
	}
}

func TestDemoPrints(t *testing.T) {
	d := &demo{p: newFixture(t).program, dir: "/tmp/usher-demo-1", task: "sales", began: ago(4200 * time.Millisecond)}
	ready := &demoReady{Cluster: "demo", Token: "t"}
	for i, name := range []string{"node-1", "node-2"} {
		ready.Nodes = append(ready.Nodes, readyNode{
			ID: stubID(i), Name: name, PID: 100 + i, Door: loopbackURL(18080 + 10*i), API: loopbackURL(18081 + 10*i), Engine: "http://127.0.0.1:4000",
			Start: "usher agent --config /tmp/usher-demo-1/" + name + "/usher.yaml --demo /tmp/usher-demo-1",
		})
	}
	o := &printer{}
	d.print(o, demoState{Ready: ready})
	golden(t, "demo.txt", o.b.String())
}

func TestVotersOf(t *testing.T) {
	want := []int{1, 2, 3, 3, 5, 5, 5, 5, 5}
	for n, w := range want {
		if got := votersOf(n + 1); got != w {
			t.Errorf("votersOf(%d) = %d, want %d", n+1, got, w)
		}
	}
}

func kill(pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return p.Kill()
}

package door

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// httpEngine is a program of net/http on a real socket.
type httpEngine struct{ *httptest.Server }

func (e httpEngine) Name() string { return "app" }
func (e httpEngine) Host() string { return e.Listener.Addr().String() }
func (e httpEngine) Dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", e.Host())
}
func (e httpEngine) Health() (peer.Health, time.Time) { return peer.Healthy, time.Time{} }
func (e httpEngine) MaxSessions() int                 { return 0 }
func (e httpEngine) HostHeader() string               { return "" }

// pattern is n bytes in which no piece is like its neighbour.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

func digest(b []byte) string { return fmt.Sprintf("%d %x", len(b), sha256.Sum256(b)) }

// Bodies of all sizes, with a length and without, come whole in either direction.
func TestLargeBodies(t *testing.T) {
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			b, err := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %v", digest(b), err)
			return
		}
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		if r.URL.Query().Get("chunked") == "" {
			w.Header().Set("Content-Length", strconv.Itoa(n))
		} else {
			w.(http.Flusher).Flush()
		}
		_, _ = w.Write(pattern(n))
	}))
	t.Cleanup(engine.Close)
	p := newPairBeside(t, httpEngine{engine}, func(*Config) {})
	for at, where := range []string{"remote", "local"} {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Jar: jar, Timeout: time.Minute, Transport: &http.Transport{}}
		base := "http://" + p.users[at].Addr().String() + "/"
		for _, n := range []int{0, 1, 8 << 10, largeBody - 1, largeBody, largeBody + 1, maxReplay, maxReplay + 1, splicedBody - 1, splicedBody, splicedBody + 8<<10, 5<<20 + 1} {
			for _, chunked := range []string{"", "1"} {
				for range 2 {
					resp, err := client.Get(base + "?n=" + strconv.Itoa(n) + "&chunked=" + chunked)
					if err != nil {
						t.Fatalf("%s: GET of %d bytes: %v", where, n, err)
					}
					b, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if digest(b) != digest(pattern(n)) || err != nil {
						t.Errorf("%s: GET of %d bytes, chunked %q: got %d, %v", where, n, chunked, len(b), err)
					}
				}
				var body io.Reader = bytes.NewReader(pattern(n))
				if chunked != "" {
					body = io.MultiReader(body) // of which net/http does not know the length
				}
				resp, err := client.Post(base, "text/plain", body)
				if err != nil {
					t.Fatalf("%s: POST of %d bytes: %v", where, n, err)
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if string(b) != digest(pattern(n))+" <nil>" || err != nil {
					t.Errorf("%s: POST of %d bytes, chunked %q: %s, %v", where, n, chunked, b, err)
				}
			}
		}
		client.CloseIdleConnections()
	}
}

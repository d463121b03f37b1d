package clustertest

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// metric is a gauge of the node without labels; -1 when it has no such gauge.
func (b *bench) metric(n *Node, name string) float64 {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return n.Host.DialContext(ctx, "unix", n.Config.API.Socket)
	}}}
	resp, err := client.Get("http://localhost/metrics")
	if err != nil {
		b.T.Errorf("metrics of %s: %v", n.Name, err)
		return -1
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				b.T.Errorf("metric %s of %s: %v", name, n.Name, err)
			}
			return v
		}
	}
	return -1
}

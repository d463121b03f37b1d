package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// busy is how much of the load's core may be taken before throughput says more about the
// load than about the proxy.
const busy = 0.9

// sample is what one measurement found. Its JSON goes from the load's process to the
// driver.
type sample struct {
	Requests  float64       // in the window, or WebSockets that were opened
	Window    time.Duration // what was measured
	CPU       time.Duration // of all processes of the proxy
	LoadCore  float64       // part of the load's core that was taken, by whomever
	ProxyCore float64       // the same of the proxy's core
	Bytes     float64       // by which the proxy's memory grew
}

// cost is processor time of a request in microseconds.
func (s sample) cost() float64 { return float64(s.CPU) / float64(time.Microsecond) / s.Requests }

// each is memory of a WebSocket in bytes.
func (s sample) each() float64 { return s.Bytes / s.Requests }

func (s sample) rate() float64 { return s.Requests / s.Window.Seconds() }

// others is the part of the proxy's core that somebody else took.
func (s sample) others() float64 { return max(0, s.ProxyCore-s.CPU.Seconds()/s.Window.Seconds()) }

// figure is what the goals compare.
func (w work) figure(s sample) float64 {
	if w.memory() {
		return s.each()
	}
	return s.cost()
}

func (w work) line(proxy string, s sample) string {
	if w.memory() {
		return fmt.Sprintf("%-18s %-16s %9.0f bytes each of %.0f", w.name, proxy, s.each(), s.Requests)
	}
	return fmt.Sprintf("%-18s %-16s %9.2f µs each  %s a second  load's core %.2f  others on the proxy's %.2f",
		w.name, proxy, s.cost(), throughput(s.rate(), s.LoadCore), s.LoadCore, s.others())
}

// throughput is a lower bound where the load's core had no more to give.
func throughput(rate, loadCore float64) string {
	if loadCore > busy {
		return fmt.Sprintf(">= %.0f", rate)
	}
	return fmt.Sprintf("%.0f", rate)
}

// results are the samples of all rounds.
type results struct {
	works   []work
	proxies []string
	samples map[string]map[string][]sample // by proxy, then work
}

func (r *results) add(proxy, work string, s sample) {
	if r.samples == nil {
		r.samples = map[string]map[string][]sample{}
	}
	if r.samples[proxy] == nil {
		r.samples[proxy] = map[string][]sample{}
	}
	r.samples[proxy][work] = append(r.samples[proxy][work], s)
}

func (r *results) of(proxy, work string) []sample { return r.samples[proxy][work] }

func (r *results) chosen(name string) bool {
	for _, w := range r.works {
		if w.name == name {
			return true
		}
	}
	return false
}

// median of what goals compare over the rounds; zero if there were none.
func (r *results) median(proxy, name string) float64 {
	for _, w := range r.works {
		if w.name == name {
			return medianOf(r.of(proxy, name), w.figure)
		}
	}
	return 0
}

func medianOf(all []sample, of func(sample) float64) float64 {
	var values []float64
	for _, s := range all {
		values = append(values, of(s))
	}
	return bench.Median(values)
}

// tables show processor time and memory, each with all rounds.
func (r *results) tables() []bench.Table {
	cpu := bench.Table{Left: 2, Head: []string{"work", "proxy", "CPU µs each", "usher / it", "a second", "load's core", "CPU µs each, all rounds"}}
	memory := bench.Table{Left: 2, Head: []string{"memory", "proxy", "bytes each", "usher / it", "of", "bytes each, all rounds"}}
	for _, w := range r.works {
		for _, proxy := range r.proxies {
			all := r.of(proxy, w.name)
			if len(all) == 0 {
				continue
			}
			if w.memory() {
				memory.Rows = append(memory.Rows, []string{
					w.name, proxy, fmt.Sprintf("%.0f", r.median(proxy, w.name)), r.ratio(proxy, w.name),
					fmt.Sprintf("%.0f", all[0].Requests), rounds(all, "%.0f", w.figure),
				})
				continue
			}
			load := medianOf(all, func(s sample) float64 { return s.LoadCore })
			cpu.Rows = append(cpu.Rows, []string{
				w.name, proxy, fmt.Sprintf("%.2f", r.median(proxy, w.name)), r.ratio(proxy, w.name),
				throughput(medianOf(all, sample.rate), load), fmt.Sprintf("%.2f", load), rounds(all, "%.2f", w.figure),
			})
		}
	}
	var out []bench.Table
	for _, t := range []bench.Table{cpu, memory} {
		if len(t.Rows) > 0 {
			out = append(out, t)
		}
	}
	return out
}

func (r *results) ratio(proxy, work string) string {
	if proxy == usherName || len(r.of(usherName, work)) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", r.median(usherName, work)/r.median(proxy, work))
}

func rounds(all []sample, format string, of func(sample) float64) string {
	var out []string
	for _, s := range all {
		out = append(out, fmt.Sprintf(format, of(s)))
	}
	return strings.Join(out, " ")
}

// disturbed is the most that others took of the proxy's core in a window.
func (r *results) disturbed() float64 {
	var most float64
	for _, works := range r.samples {
		for _, all := range works {
			for _, s := range all {
				if s.Window > 0 {
					most = max(most, s.others())
				}
			}
		}
	}
	return most
}

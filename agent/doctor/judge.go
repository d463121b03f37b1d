package doctor

import (
	"fmt"
	"strings"
	"time"
)

// Bounds of what is well. They are part of the command's help.
const (
	CertificateWarning = 30 * 24 * time.Hour

	ClockWarning = 500 * time.Millisecond
	ClockFailed  = 2 * time.Second  // from here on the state's time is the other clocks'
	clockUnfit   = 30 * time.Second // from here on the central role is given up

	DiskFailed         = 256 << 20 // bytes
	DiskWarning        = 1 << 30
	diskWarningPercent = 10

	SyncWarning = 20 * time.Millisecond
	SyncFailed  = 200 * time.Millisecond

	FilesWarning  = 65_536
	filesFailed   = 1024
	filesFullness = 80 // percent

	memoryWarning        = 256 << 20 // bytes
	memoryWarningPercent = 5
	memoryFailed         = 64 << 20

	contactWarning = 5 * time.Second
	manyRestarts   = 3
)

// Judge makes lines of facts, in the order in which people mend things: the node itself,
// its machine, the way to the others, the cluster.
func Judge(f Facts) []Line {
	var out []Line
	for _, part := range []func(Facts) []Line{
		directory, certificates, ports, address, names,
		disk, syncTime, files, memory,
		reach, clock, quorum, versions, engines,
	} {
		out = append(out, part(f)...)
	}
	return out
}

func one(l Line) []Line { return []Line{l} }

// unknown is the line of a fact that is missing.
func (f Facts) unknown(check string) []Line {
	why := f.Offline
	if why == "" {
		why = "it was not looked at"
	}
	return one(skipped(check, why))
}

// bytesText is a size in binary units.
func bytesText(n uint64) string {
	v, unit := float64(n), "B"
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if v < 1024 {
			break
		}
		v, unit = v/1024, u
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

// shown is a duration that people read at a glance.
func shown(d time.Duration) string {
	switch a := d.Abs(); {
	case a < time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case a < time.Second:
		return d.Round(100 * time.Microsecond).String()
	case a < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func days(d time.Duration) string {
	n := int(d / (24 * time.Hour))
	switch {
	case d < 24*time.Hour:
		return shown(d)
	case n == 1:
		return "1 day"
	}
	return fmt.Sprintf("%d days", n)
}

// oneLine keeps an error of several lines from breaking the table.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

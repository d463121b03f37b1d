package scheduler

import (
	"archive/zip"
	"crypto/sha256"
	"flag"
	"go/build"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var long = flag.Bool("long", false, "compare cron with the oracle in every time zone, 2020 to 2037")

// wall is what a clock on the wall shows.
type wall struct {
	min, hour, dom, mon, dow int
}

// dial is an expression, and by hand what it means.
type dial struct {
	expr  string
	fixed bool
	on    func(w wall) bool
}

func dials() []dial {
	return []dial{
		{"30 2 * * *", true, func(w wall) bool { return w.min == 30 && w.hour == 2 }},
		{"30 1 * * *", true, func(w wall) bool { return w.min == 30 && w.hour == 1 }},
		{"0 0 * * *", true, func(w wall) bool { return w.min == 0 && w.hour == 0 }},
		{"0,20,40 0-3 * * sun", true, func(w wall) bool { return w.min%20 == 0 && w.hour <= 3 && w.dow == 0 }},
		{"15 0-23/2 * * *", true, func(w wall) bool { return w.min == 15 && w.hour%2 == 0 }},
		{"59 23 31 * *", true, func(w wall) bool { return w.min == 59 && w.hour == 23 && w.dom == 31 }},
		{"5 3 13 * fri", true, func(w wall) bool { return w.min == 5 && w.hour == 3 && (w.dom == 13 || w.dow == 5) }},
		{"45 2 * mar,oct,apr,nov 7", true, func(w wall) bool {
			return w.min == 45 && w.hour == 2 && w.dow == 0 && (w.mon == 3 || w.mon == 4 || w.mon == 10 || w.mon == 11)
		}},
		{"*/30 * * * *", false, func(w wall) bool { return w.min%30 == 0 }},
		{"17 * * * *", false, func(w wall) bool { return w.min == 17 }},
		{"*/20 2 * * *", false, func(w wall) bool { return w.min%20 == 0 && w.hour == 2 }},
		{"0 */2 * * *", false, func(w wall) bool { return w.min == 0 && w.hour%2 == 0 }},
		{"10 */6 1-7 * mon", false, func(w wall) bool { return w.min == 10 && w.hour%6 == 0 && (w.dom <= 7 || w.dow == 1) }},
		{"0 */3 */2 * mon", false, func(w wall) bool { return w.min == 0 && w.hour%3 == 0 && w.dom%2 == 1 && w.dow == 1 }},
	}
}

// oracle goes through every minute of [begin, end) and writes down when each dial
// comes due. It knows nothing of gaps: clocks go as they go, and high is the latest
// time that they ever showed. A fixed dial is due when high passes a time that
// matches; any other when the clocks show one.
func oracle(ds []dial, zone *time.Location, begin, end time.Time) [][]time.Time {
	out := make([][]time.Time, len(ds))
	high := civilMinute(begin.Add(-time.Minute), zone)
	days := map[int64]wall{} // working a date out is slow
	for t := begin; t.Before(end); t = t.Add(time.Minute) {
		now := civilMinute(t, zone)
		passed := []wall{wallOf(now, days)}
		for m := high + 1; m < now; m++ {
			passed = append(passed, wallOf(m, days))
		}
		for i, d := range ds {
			due := d.on(passed[0]) && (!d.fixed || now > high)
			for _, w := range passed[1:] {
				due = due || d.fixed && d.on(w)
			}
			if due {
				out[i] = append(out[i], t)
			}
		}
		high = max(high, now)
	}
	return out
}

// civilMinute numbers the minutes that clocks can show.
func civilMinute(t time.Time, zone *time.Location) int64 {
	_, off := t.In(zone).Zone()
	return (t.Unix() + int64(off)) / 60
}

func wallOf(minute int64, days map[int64]wall) wall {
	day := minute / (24 * 60)
	w, ok := days[day]
	if !ok {
		w.dow = int((day + 4) % 7) // 1 January 1970 was a Thursday
		w.mon, w.dom = monthDay(day)
		days[day] = w
	}
	w.min, w.hour = int(minute%60), int(minute/60%24)
	return w
}

// monthDay counts from 1970, year by year and month by month.
func monthDay(days int64) (mon, dom int) {
	days -= 18262 // 1 January 2020
	for y := 2020; ; y++ {
		leap := y%4 == 0 && (y%100 != 0 || y%400 == 0)
		for i, n := range [12]int64{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31} {
			if leap && i == 1 {
				n = 29
			}
			if days < n {
				return i + 1, int(days) + 1
			}
			days -= n
		}
	}
}

func compareWithOracle(t *testing.T, zone *time.Location, begin, end time.Time) {
	t.Helper()
	ds := dials()
	want := oracle(ds, zone, begin, end)
	for i, d := range ds {
		s, err := parseCron(d.expr)
		if err != nil {
			t.Fatal(err)
		}
		at := begin.Add(-1)
		for _, w := range want[i] {
			got := s.next(at, zone)
			if !got.Equal(w) {
				t.Errorf("%s in %s after %s: %s, the oracle says %s", d.expr, zone, at.In(zone), got.In(zone), w.In(zone))
				break
			}
			at = got
		}
		if got := s.next(at, zone); got.Before(end) && !t.Failed() {
			t.Errorf("%s in %s after %s: %s, the oracle knows none until %s", d.expr, zone, at, got, end)
		}
	}
}

func TestCronAgainstOracle(t *testing.T) {
	for _, name := range []string{
		"UTC", "Europe/Berlin", "Europe/London", "America/New_York", "America/Sao_Paulo", "Asia/Kolkata",
		"Australia/Lord_Howe", // moves by half an hour
		"Africa/Casablanca",   // twice around Ramadan
		"America/Santiago",    // at midnight, southern hemisphere
		"Asia/Beirut",         // at midnight, northern hemisphere
		"Antarctica/Troll",    // by two hours
		"Pacific/Chatham",     // at a quarter to
	} {
		t.Run(name, func(t *testing.T) {
			zone, err := time.LoadLocation(name)
			if err != nil {
				t.Fatal(err)
			}
			y := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }
			compareWithOracle(t, zone, y(2024), y(2028))
			compareWithOracle(t, zone, y(2040), y(2042)) // by rule: tables end in 2037
		})
	}
}

// TestCronInEveryZone is the same for all zones and more years: minutes of work.
func TestCronInEveryZone(t *testing.T) {
	if !*long {
		t.Skip("needs -long")
	}
	for _, zone := range everyZone(t) {
		t.Run(zone.String(), func(t *testing.T) {
			t.Parallel()
			compareWithOracle(t, zone, time.Date(2020, 1, 2, 0, 0, 0, 0, time.UTC), time.Date(2038, 1, 1, 0, 0, 0, 0, time.UTC))
		})
	}
}

// everyZone reads the zones that come with Go, each rule once.
func everyZone(t *testing.T) []*time.Location {
	t.Helper()
	z, err := zip.OpenReader(filepath.Join(build.Default.GOROOT, "lib", "time", "zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	seen := map[[32]byte]bool{}
	var out []*time.Location
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(data); strings.HasSuffix(f.Name, "/") || seen[sum] {
			continue
		} else {
			seen[sum] = true
		}
		zone, err := time.LoadLocationFromTZData(f.Name, data)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, zone)
	}
	if len(out) < 200 {
		t.Fatalf("only %d zones", len(out))
	}
	return out
}

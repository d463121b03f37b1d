package scheduler

import (
	"strings"
	"testing"
	"time"
)

func TestParseCron(t *testing.T) {
	for _, tc := range []struct{ a, same string }{
		{"@hourly", "0 * * * *"},
		{"@daily", "0 0 * * *"},
		{"@midnight", "0 0 * * *"},
		{"@Weekly", "0 0 * * 0"},
		{"@monthly", "0 0 1 * *"},
		{"@yearly", "0 0 1 1 *"},
		{"@annually", "0 0 1 jan *"},
		{"*/15 8-18/2 * * mon-fri", "0 0,15,30,45 8,10,12,14,16,18 * * 1,2,3,4,5"},
		{"0 0 * JAN,Dec sat,SUN", "0 0 * 1,12 0,6"},
		{"0 0 * * 7", "0 0 * * 0"},
		{"0 0 * * 5-7", "0 0 * * 0,5,6"},
		{"0 0 * * fri-sun", "0 0 * * 0,5,6"},
		{"0 0 * * sun-tue", "0 0 * * 0-2"},
		{"  0\t0  1-31/10 * *  ", "0 0 1,11,21,31 * *"},
		{"30 5 0 * * *", "30 5 0 * * *"},
		{"05 07 * * *", "5 7 * * *"},
		{"0 0 * * */2", "0 0 * * 0,2,4,6"},
	} {
		t.Run(tc.a, func(t *testing.T) {
			a, err := parseCron(tc.a)
			if err != nil {
				t.Fatal(err)
			}
			b, err := parseCron(tc.same)
			if err != nil {
				t.Fatal(err)
			}
			a.text, b.text = "", ""
			a.fixed, b.fixed, a.eitherDay, b.eitherDay = false, false, false, false
			if *a != *b {
				t.Errorf("%+v, want the same as %s: %+v", a, tc.same, b)
			}
		})
	}
}

func TestParseCronErrors(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"", "0 fields: use five"},
		{"* * * *", "4 fields: use five"},
		{"* * * * * * *", "7 fields: use five"},
		{"60 * * * *", `minute "60": "60" is outside 0-59`},
		{"* 24 * * *", `hour "24": "24" is outside 0-23`},
		{"* * 0 * *", `day of month "0": "0" is outside 1-31`},
		{"* * * 13 *", `month "13": "13" is outside 1-12 or a name such as jan`},
		{"* * * * 8", `day of week "8": "8" is outside 0-7 or a name such as sun`},
		{"60 0 0 * * *", `second "60": "60" is outside 0-59`},
		{"*/0 * * * *", `minute "*/0": step "0": use a number from 1 to 59`},
		{"*/60 * * * *", `step "60": use a number from 1 to 59`},
		{"*/-5 * * * *", `step "-5"`},
		{"5/15 * * * *", "a step needs a range or *: use 5-59/15"},
		{"30-10 * * * *", "the range 30-10 begins after its end"},
		{"0 0 * * sat-mon", "the range sat-mon begins after its end"},
		{"1,,2 * * * *", `"" is outside 0-59`},
		{"-5 * * * *", `"" is outside 0-59`},
		{"+5 * * * *", `"+5" is outside 0-59`},
		{"0 0 L * *", `day of month "L": "L" is outside 1-31`},
		{"0 0 * * monday", `"monday" is outside 0-7`},
		{"0 0 * * unm", `"unm" is outside 0-7`},
		{"007 * * * *", `"007" is outside 0-59`},
		{"TZ=UTC 0 0 * *", `minute`},
		{"@reboot", "use one of @hourly"},
		{"@every 5m", "give an interval instead"},
	} {
		t.Run(tc.text, func(t *testing.T) {
			_, err := parseCron(tc.text)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

// What happens when clocks are moved, spelt out for Berlin in 2026: on 29 March
// 02:00 becomes 03:00 (01:00 UTC), on 25 October 03:00 becomes 02:00 (01:00 UTC).
func TestMovedClocks(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, expr, after string
		want              []string // UTC
	}{
		{"fixed in the gap runs at its end", "30 2 * * *", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		{"several in the gap run once", "0,30 2,3 * * *", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"}},
		{"fixed in the repeated hour runs once", "30 2 * * *", "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"each hour runs in both", "30 * * * *", "2026-10-24T23:00:00Z", []string{"2026-10-24T23:30:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"}},
		{"each hour skips nothing that was", "30 * * * *", "2026-03-29T00:00:00Z", []string{"2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"}},
		{"minutes of an hour that is skipped", "*/30 2 * * *", "2026-03-28T12:00:00Z", []string{"2026-03-30T00:00:00Z"}},
		{"seconds", "15 30 2 * * *", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:15Z"}},
		{"each second of a minute", "*/20 30 2 * * *", "2026-10-24T23:00:00Z", []string{
			"2026-10-25T00:30:00Z", "2026-10-25T00:30:20Z", "2026-10-25T00:30:40Z", "2026-10-25T01:30:00Z",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := parseCron(tc.expr)
			if err != nil {
				t.Fatal(err)
			}
			after, err := time.Parse(time.RFC3339, tc.after)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range tc.want {
				after = s.next(after, berlin)
				if got := after.UTC().Format(time.RFC3339); got != w {
					t.Fatalf("%s, want %s", got, w)
				}
			}
		})
	}
}

// FuzzCron: whatever is accepted comes due at a time that it names, later than
// asked, at the first such second, and again from there.
func FuzzCron(f *testing.F) {
	for _, s := range []string{"* * * * *", "*/5 8-18 * * mon-fri", "0 0 29 2 mon", "30 2 * * *", "@weekly", "15 10 3 1,15 * *", "0 0 30 2 *", "5/3 * * * *"} {
		f.Add(s, int64(1_774_000_000), uint8(1))
	}
	zones := []*time.Location{time.UTC}
	for _, n := range []string{"Europe/Berlin", "Australia/Lord_Howe", "America/Santiago"} {
		z, err := time.LoadLocation(n)
		if err != nil {
			f.Fatal(err)
		}
		zones = append(zones, z)
	}
	f.Fuzz(func(t *testing.T, text string, unix int64, z uint8) {
		s, err := parseCron(text)
		if err != nil {
			return
		}
		zone := zones[int(z)%len(zones)]
		after := time.Unix(unix%4_000_000_000, 0)
		due := s.next(after, zone)
		if due.IsZero() {
			return
		}
		if !due.After(after) {
			t.Fatalf("%q after %s: %s", text, after, due)
		}
		if again := s.next(due.Add(-time.Second), zone); !again.Equal(due) {
			t.Fatalf("%q: %s, asked a second before %s", text, again, due)
		}
		c := due.In(zone)
		begin, _ := c.ZoneBounds()
		shown := s.sec>>c.Second()&1 == 1 && s.min>>c.Minute()&1 == 1 && s.hour>>c.Hour()&1 == 1 && s.date(c)
		if !shown && (!s.fixed || !begin.Equal(due)) {
			t.Fatalf("%q after %s: %s is not one of its times", text, after, c)
		}
	})
}

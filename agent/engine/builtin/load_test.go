package builtin

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const mib = 1 << 20

func loadText(s string) (*Table, error) {
	return Load(context.Background(), strings.NewReader(s), 64*mib)
}

// dump shows a table as lines of fields, with '#' on names of numbers.
func dump(t *Table) string {
	var b strings.Builder
	for i := range t.Columns {
		b.WriteString(t.Columns[i].Name)
		if t.Columns[i].Numeric {
			b.WriteByte('#')
		}
		b.WriteByte('|')
	}
	for r := range t.Rows {
		b.WriteByte('\n')
		for _, f := range t.row(r) {
			b.WriteString(f + "|")
		}
	}
	return b.String()
}

func TestLoad(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"plain":               {"a,b\n1,x\n2,y\n", "a#|b|\n1|x|\n2|y|"},
		"byte order mark":     {"\uFEFFa,b\n1,x\n", "a#|b|\n1|x|"},
		"semicolon":           {"a;b\n1;x,y\n", "a#|b|\n1|x,y|"},
		"tab":                 {"a\tb\n1\tx\n", "a#|b|\n1|x|"},
		"windows line ends":   {"a,b\r\n1,x\r\n", "a#|b|\n1|x|"},
		"quoted":              {"\"a,1\",b\n\"x\"\"y\",\"p\nq\"\n", "a,1|b|\nx\"y|p\nq|"},
		"quoted separators":   {"\"a,,,,\";b\n1;2\n", "a,,,,#|b#|\n1|2|"},
		"one column":          {"a\n1\n", "a#|\n1|"},
		"header only":         {"a,b\n", "a|b|"},
		"names are trimmed":   {" a , b\n1,2\n", "a#|b#|\n1|2|"},
		"decimals are levels": {"a\n1\n2.5\n-3.25\n", "a#|\n1.00|\n2.50|\n-3.25|"},
		"empty is no zero":    {"a,b\n1,x\n,y\n", "a#|b|\n1|x|\n|y|"},
		"all empty is text":   {"a,b\n,x\n", "a|b|\n|x|"},
		"codes stay text":     {"a\n007\n8\n", "a|\n007|\n8|"},
		"too wide is text":    {"a\n123456789012345.1\n1.123\n", "a|\n123456789012345.1|\n1.123|"},
		"one word makes text": {"a\n1\n2\nx\n", "a|\n1|\n2|\nx|"},
		"empty lines":         {"\n\na;b\n\n1;2\n\n", "a#|b#|\n1|2|"},
		"not ascii":           {"größe,страна\n1,日本\n", "größe#|страна|\n1|日本|"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			tab, err := loadText(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, dump(tab)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLoadMalformed(t *testing.T) {
	wide := strings.Repeat("c,", maxColumns)
	tests := map[string]struct {
		in           string
		line, column int
		reason       string
	}{
		"empty":               {"", 1, 1, "empty"},
		"only a mark":         {"\uFEFF", 1, 1, "empty"},
		"only line breaks":    {"\n\n\n", 1, 1, "no line"},
		"no name":             {"a,,c\n1,2,3\n", 1, 3, "column 2 has no name"},
		"last name missing":   {"a,b,\n", 1, 5, "column 3 has no name"},
		"twice":               {"a,b,a\n", 1, 5, `column 3 has the same name as column 1: "a"`},
		"twice after trim":    {"a, a\n", 1, 3, "same name"},
		"name with control":   {"a,b\x01\n", 1, 3, "not printable"},
		"name not utf-8":      {"a,\xff\n", 1, 3, "not printable"},
		"long name":           {strings.Repeat("n", 257) + "\n", 1, 1, "longer than 256"},
		"too many columns":    {wide + "d\n", 1, 2049, "1025 columns"},
		"too few fields":      {"a,b\n1,2\n3\n", 3, 1, "1 fields where the header has 2"},
		"too many fields":     {"a,b\n1,2,3\n", 2, 5, "3 fields where the header has 2"},
		"field not utf-8":     {"a,b\n1,x\n2,\xc3\n", 3, 3, "not UTF-8"},
		"field with nul":      {"a,b\n1,x\x00\n", 2, 3, "not UTF-8"},
		"open quote":          {"a,b\n1,\"x\n2,y\n", 3, 5, "quote"},
		"text after quote":    {"a,b\n1,\"x\"y\n", 2, 5, "quote"},
		"quote within":        {"a,b\n1,x\"y\n", 2, 4, "quote"},
		"no last line break":  {"a,b\n1,2\n3,4", 3, 3, "half written"},
		"header without end":  {"a,b", 1, 3, "half written"},
		"line after newlines": {"a,b\n1,\"p\nq\"\n3\n", 4, 1, "1 fields"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			tab, err := loadText(tc.in)
			var ce *CSVError
			if !errors.As(err, &ce) {
				t.Fatalf("got %v, %v, want a CSVError", tab, err)
			}
			if ce.Line != tc.line || ce.Column != tc.column || !strings.Contains(ce.Reason, tc.reason) {
				t.Errorf("got %v, want line %d, column %d, %q", ce, tc.line, tc.column, tc.reason)
			}
		})
	}
}

func TestLoadLimits(t *testing.T) {
	if _, err := Load(context.Background(), strings.NewReader("a\n"+strings.Repeat("1\n", 100)), 100); !errors.Is(err, errTooBig) {
		t.Errorf("a file that is too big: got %v", err)
	}
	var ce *CSVError
	open := "a\n1\n\"" + strings.Repeat("x\n", 2*mib)
	if _, err := loadText(open); !errors.As(err, &ce) || !strings.Contains(ce.Reason, "longer than") {
		t.Errorf("an unclosed quote before 4 MiB: got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Load(ctx, strings.NewReader("a\n1\n"), mib); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled load: got %v", err)
	}
}

// Whatever point a writer has reached, half a file is seen to be one: only what
// ends at the end of a record can pass.
func TestEveryHalfWrittenFileIsRefused(t *testing.T) {
	const whole = "id,name,\"amo,unt\"\n1,\"x, y\",12.50\n2,\"p\nq\",7.00\n3,z,1234.56\n"
	ends := map[int]bool{}
	for _, end := range []string{"amo,unt\"\n", "12.50\n", "7.00\n", "1234.56\n"} {
		ends[strings.Index(whole, end)+len(end)] = true
	}
	for n := range len(whole) + 1 {
		_, err := loadText(whole[:n])
		if ends[n] != (err == nil) {
			t.Errorf("the first %d bytes, up to %q: error %v", n, whole[max(0, n-8):n], err)
		}
	}
}

func TestDetectComma(t *testing.T) {
	for in, want := range map[string]rune{
		"a,b\n": ',', "a;b\n": ';', "a\tb\n": '\t', "a\n": ',', "": ',', "a;b,c\n": ',', "a;b;c,d\n": ';',
		"\"a;b;c\",d\n": ',', "a,b\n;;;;": ',', "a,b\r;;;;": ',', "\r\n\na;b": ';', "\"a\n;;\",b\n": ',',
	} {
		if got := detectComma([]byte(in)); got != want {
			t.Errorf("detectComma(%q) = %q, want %q", in, got, want)
		}
	}
}

// changing yields other bytes at the second pass.
type changing struct {
	*strings.Reader
	then string
}

func (c *changing) Seek(int64, int) (int64, error) {
	c.Reader = strings.NewReader(c.then)
	return 0, nil
}

func TestLoadNoticesAChangeBetweenPasses(t *testing.T) {
	for name, then := range map[string]string{
		"row more": "a\n1\n2\n", "row less": "a\n", "column more": "a,b\n1,2\n", "no number": "a\nx\n", "more decimals": "a\n1.5\n",
	} {
		if _, err := Load(context.Background(), &changing{strings.NewReader("a\n1\n"), then}, mib); !errors.Is(err, errChanged) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, s := range []string{"a,b\n1,x\n", "\uFEFFa;b\r\n1;2,5\r\n", "a\tb\n\"x\ty\"\t-0.50\n", "a\n", "a\n\"\n", "a,a\n", "\n\na\n1\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tab, err := Load(context.Background(), bytes.NewReader(b), mib)
		if err != nil {
			var ce *CSVError
			if errors.As(err, &ce) && (ce.Line < 1 || ce.Column < 1 || ce.Reason == "") {
				t.Errorf("an error without a place: %+v", ce)
			}
			if errors.Is(err, errChanged) {
				t.Errorf("two passes over the same bytes differ: %v", err)
			}
			return
		}
		// What was read, written again, is the same table.
		var out bytes.Buffer
		w := csv.NewWriter(&out)
		names := make([]string, len(tab.Columns))
		for i := range names {
			names[i] = tab.Columns[i].Name
		}
		_ = w.Write(names)
		for r := range tab.Rows {
			if row := tab.row(r); len(row) > 1 || row[0] != "" { // else an empty line, which is no record
				_ = w.Write(row)
			} else {
				out.WriteString("")
				w.Flush()
				out.WriteString("\"\"\n")
			}
		}
		w.Flush()
		again, err := Load(context.Background(), bytes.NewReader(out.Bytes()), mib)
		if err != nil {
			t.Fatalf("%q, written as %q: %v", b, out.Bytes(), err)
		}
		// CSV readers make "\r\n" within quotes "\n"; so does ours, once.
		if diff := cmp.Diff(dump(tab), dump(again)); diff != "" {
			t.Errorf("%q: %s", b, diff)
		}
	})
}

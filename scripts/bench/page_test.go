package bench

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWriteIntoAPage(t *testing.T) {
	const page = "# Page\n<!-- one -->\nold\n<!-- end of one -->\nbetween\n<!-- two -->\n<!-- end of two -->\nafter\n"
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	table := Table{Head: []string{"a", "b"}, Left: 1, Rows: [][]string{{"x", "1"}}}
	var out strings.Builder
	for range 2 { // the second time changes nothing
		out.Reset()
		if err := (Output{Name: "one", Into: file}).Write(&out, []string{"a machine"}, []Table{table}); err != nil {
			t.Fatal(err)
		}
	}
	const body = "- a machine\n\n| a   |   b |\n| --- | --: |\n| x   |   1 |\n\n"
	if diff := cmp.Diff(body, out.String()); diff != "" {
		t.Error(diff)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(page, "\nold\n", "\n\n"+body, 1)
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestWriteForPeople(t *testing.T) {
	var out strings.Builder
	if err := (Output{Name: "one"}).Write(&out, []string{"a machine"}, []Table{{Head: []string{"a"}, Rows: [][]string{{"1"}}}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("a machine\n\na\n1\n\n", out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestReplacePartNeedsBothLines(t *testing.T) {
	for name, page := range map[string]string{
		"none":            "text\n",
		"no end":          "<!-- one -->\ntext\n",
		"the wrong order": "<!-- end of one -->\n<!-- one -->\n",
	} {
		if _, err := replacePart(page, "one", "body"); !errors.Is(err, errNoPart) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// line is a result for people who wait for the next.
func (r result) line() string {
	return fmt.Sprintf("%-44s %-60s %6.2f s  %s", r.name, r.pkg+" "+r.test, r.took.Seconds(), r.verdict)
}

// list prints what there is.
func list(out io.Writer, all []mutant, markdown bool) error {
	t := bench.Table{Head: []string{"bug", "what is broken", "which promise", "test"}, Left: 4}
	for _, m := range all {
		t.Rows = append(t.Rows, []string{m.name, m.bug, m.promise, m.pkg + " " + m.test})
	}
	t.Print(out, markdown)
	return nil
}

// check looks whether the patches fit the tree, in seconds: nothing is built.
func check(ctx context.Context, out io.Writer, tree string, all []mutant) error {
	wrong := 0
	for _, m := range all {
		err := apply(ctx, tree, m.file, "--check")
		if err == nil {
			err = hasTest(tree, m)
		}
		if err != nil {
			wrong++
			fmt.Fprintf(out, "%s: %v\n", m.file, err)
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d bugs fit the tree no more: bring the patch, or the test that it names, up to date", wrong, len(all))
	}
	fmt.Fprintf(out, "%d bugs fit the tree\n", len(all))
	return nil
}

// hasTest looks for the test that a mutant names.
func hasTest(tree string, m mutant) error {
	files, err := filepath.Glob(filepath.Join(tree, filepath.FromSlash(m.pkg), "*_test.go"))
	if err != nil {
		return err
	}
	head, err := regexp.Compile(`(?m)^func ` + regexp.QuoteMeta(m.testFunc()) + `\(`)
	if err != nil {
		return err
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if head.Match(b) {
			return nil
		}
	}
	return fmt.Errorf("%s has no test %s", m.pkg, m.testFunc())
}

// report prints the whole, an area at a time, and judges it.
func report(out io.Writer, o options, results []result) error {
	failed := 0
	byArea := map[string][]result{}
	for _, r := range results {
		byArea[r.area()] = append(byArea[r.area()], r)
		if r.verdict != caught {
			failed++
		}
	}
	if o.markdown || o.into != "" {
		for _, area := range slices.Sorted(maps.Keys(byArea)) {
			page := bench.Output{Name: "mutants of " + area, Markdown: true, Into: o.into}
			if err := page.Write(out, facts(byArea[area]), []bench.Table{table(byArea[area])}); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(out, "%d of %d bugs caught\n", len(results)-failed, len(results))
	if failed > 0 {
		return errFailed
	}
	return nil
}

// facts say when and where a table was made.
func facts(results []result) []string {
	n := 0
	for _, r := range results {
		if r.verdict == caught {
			n++
		}
	}
	return []string{fmt.Sprintf("%d of %d caught on %s, %s %s/%s", n, len(results), time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.GOOS, runtime.GOARCH)}
}

func table(results []result) bench.Table {
	t := bench.Table{Head: []string{"bug", "what is broken", "the promise", "caught by", "result", "time"}, Left: 5}
	for _, r := range results {
		t.Rows = append(t.Rows, []string{r.name, r.bug, r.promise, "`" + r.pkg + "` " + r.test, string(r.verdict), fmt.Sprintf("%.2f s", r.took.Seconds())})
	}
	return t
}

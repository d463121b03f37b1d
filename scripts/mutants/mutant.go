package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mutant is one bug: a patch that git can apply, below a head that says what it is.
//
//	Bug: what is broken, in one line
//	Promise: which promise that breaks
//	Test: PACKAGE TEST, as in agent/door TestToken
type mutant struct {
	name    string // of the file, without .patch; its first word is the area
	file    string
	bug     string
	promise string
	pkg     string // directory from the root of the tree
	test    string // of package testing, with subtests behind slashes
}

// area is the part of usher that the bug is in.
func (m mutant) area() string {
	area, _, _ := strings.Cut(m.name, "-")
	return area
}

// testFunc is the test without its subtests.
func (m mutant) testFunc() string {
	name, _, _ := strings.Cut(m.test, "/")
	return name
}

// pattern is for -test.run.
func (m mutant) pattern() string {
	parts := strings.Split(m.test, "/")
	for i, p := range parts {
		parts[i] = "^" + p + "$"
	}
	return strings.Join(parts, "/")
}

const patchSuffix = ".patch"

// readMutants reads all patches of a directory, sorted by name.
func readMutants(dir string) ([]mutant, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"+patchSuffix))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there are no patches in %s: start this in the root of the tree", dir)
	}
	slices.Sort(files)
	var all []mutant
	for _, file := range files {
		m, err := readMutant(file)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

func readMutant(file string) (mutant, error) {
	f, err := os.Open(file)
	if err != nil {
		return mutant{}, err
	}
	defer f.Close()
	m, err := parseHead(f)
	if err != nil {
		return mutant{}, fmt.Errorf("%s: %w", file, err)
	}
	m.file, m.name = file, strings.TrimSuffix(filepath.Base(file), patchSuffix)
	return m, nil
}

var errHead = errors.New("a patch begins with the lines Bug:, Promise: and Test: PACKAGE TEST, once each")

// parseHead reads what stands above the patch.
func parseHead(r io.Reader) (mutant, error) {
	var m mutant
	var test string
	fields := map[string]*string{"Bug": &m.bug, "Promise": &m.promise, "Test": &test}
	lines := bufio.NewScanner(r)
	patch := false
	for !patch && lines.Scan() {
		line := lines.Text()
		if patch = strings.HasPrefix(line, "diff --git "); patch || line == "" {
			continue
		}
		key, value, _ := strings.Cut(line, ": ")
		at := fields[key]
		if at == nil || *at != "" || value == "" {
			return m, fmt.Errorf("line %q: %w", line, errHead)
		}
		*at = value
	}
	if err := lines.Err(); err != nil {
		return m, err
	}
	words := strings.Fields(test)
	if !patch || m.bug == "" || m.promise == "" || len(words) != 2 || !strings.HasPrefix(words[1], "Test") {
		return m, errHead
	}
	m.pkg, m.test = words[0], words[1]
	return m, nil
}

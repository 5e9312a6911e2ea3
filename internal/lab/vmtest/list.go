package vmtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// suite is what one test binary has to run.
type suite struct {
	dir    string // the package's directory, where its tests run
	pkg    string // its import path
	binary string
	tests  []string
}

// pattern is the -test.run argument that selects exactly the suite's tests.
func (s suite) pattern() string { return "^(" + strings.Join(s.tests, "|") + ")$" }

// readList reads lines "directory<TAB>test", as internal/testenv writes them, into one suite per directory.
func readList(path, root, module string) ([]suite, error) {
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading the tests to run in the VM: %w", err)
	}
	byDir := map[string][]string{}
	for line := range strings.Lines(string(raw)) {
		dir, test, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			return nil, fmt.Errorf("reading the tests to run in the VM: %s: %q is not directory<TAB>test", path, line)
		}
		byDir[dir] = append(byDir[dir], test)
	}
	var suites []suite
	for dir, tests := range byDir {
		rel, err := filepath.Rel(root, dir)
		if err != nil {
			return nil, fmt.Errorf("finding the package of %s: %w", dir, err)
		}
		slices.Sort(tests)
		suites = append(suites, suite{dir: dir, pkg: filepath.ToSlash(filepath.Join(module, rel)), tests: slices.Compact(tests)})
	}
	slices.SortFunc(suites, func(a, b suite) int { return strings.Compare(a.pkg, b.pkg) })
	return suites, nil
}

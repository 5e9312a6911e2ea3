package vmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// FindModule returns the directory of the nearest go.mod from dir upwards, and the module's path.
func FindModule(dir string) (root, module string, err error) {
	for d := dir; ; d = filepath.Dir(d) {
		raw, err := os.ReadFile(filepath.Join(d, "go.mod"))
		if err == nil {
			for line := range strings.Lines(string(raw)) {
				if path, ok := strings.CutPrefix(line, "module "); ok {
					return d, strings.TrimSpace(path), nil
				}
			}
			return "", "", fmt.Errorf("reading the module's path: no module line in %s/go.mod", d)
		}
		if d == filepath.Dir(d) {
			return "", "", fmt.Errorf("looking for go.mod from %s upwards: %w", dir, err)
		}
	}
}

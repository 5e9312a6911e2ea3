package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// modulesFor returns the files of the named modules and of all they need, each after what it needs. Names
// that modules.dep doesn't know are left out: they are built into the kernel, or the boot will say so.
func modulesFor(tree string, names []string) ([]string, error) {
	raw, err := os.ReadFile(filepath.Join(tree, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("reading what the modules need: %w", err)
	}
	needs := parseModulesDep(string(raw))
	var order []string
	seen := map[string]bool{}
	for _, name := range names {
		file, ok := needs.file[name]
		if !ok {
			continue
		}
		// depmod lists a module's needs outermost first: the last one has to be loaded first.
		deps := needs.deps[file]
		for i := len(deps) - 1; i >= -1; i-- {
			next := file
			if i >= 0 {
				next = deps[i]
			}
			if !seen[next] {
				seen[next] = true
				order = append(order, filepath.Join(tree, next))
			}
		}
	}
	return order, nil
}

// moduleNeeds is modules.dep: the file of each module, and the complete list of files that each file needs.
type moduleNeeds struct {
	file map[string]string
	deps map[string][]string
}

func parseModulesDep(text string) moduleNeeds {
	n := moduleNeeds{file: map[string]string{}, deps: map[string][]string{}}
	for line := range strings.Lines(text) {
		file, deps, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		n.file[moduleName(file)] = file
		n.deps[file] = strings.Fields(deps)
	}
	return n
}

// moduleName is the kernel's name for a module file: no suffix, underscores only.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

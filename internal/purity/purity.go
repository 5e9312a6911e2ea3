package purity

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// allowed are the packages outside the module that pure code may import. Each is free of I/O, clocks,
// goroutines and chance; time, context and fmt are so only without their forbidden names.
var allowed = map[string]bool{
	"bytes": true, "cmp": true, "container/heap": true, "container/list": true, "context": true, "crypto/sha256": true,
	"encoding": true, "encoding/base64": true, "encoding/binary": true, "encoding/hex": true, "encoding/json": true,
	"errors": true, "fmt": true, "hash": true, "hash/crc32": true, "hash/fnv": true, "io": true, "iter": true,
	"maps": true, "math": true, "math/bits": true, "net/netip": true, "reflect": true, "regexp": true, "slices": true,
	"sort": true, "strconv": true, "strings": true, "sync/atomic": true, "time": true, "unicode": true, "unicode/utf8": true, "unsafe": true,
}

// forbidden are the names of allowed packages that ask the clock, wait, or print.
var forbidden = map[string][]string{
	"time":    {"Now", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Since", "Until", "LoadLocation", "Local"},
	"context": {"WithTimeout", "WithTimeoutCause", "WithDeadline", "WithDeadlineCause", "AfterFunc"},
	"fmt":     {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
}

// Violation is something impure and where it is.
type Violation struct {
	Position token.Position
	What     string
}

func (v Violation) String() string { return fmt.Sprintf("%s: %s", v.Position, v.What) }

// Check examines packages, given as directories relative to the module's root, with all that they import
// from the module. A directory that doesn't exist is left out: not every package exists from the beginning.
func Check(root, module string, dirs ...string) ([]Violation, error) {
	var found []Violation
	seen := map[string]bool{}
	queue := slices.Clone(dirs)
	for len(queue) > 0 {
		dir := queue[0]
		queue = queue[1:]
		if seen[dir] {
			continue
		}
		seen[dir] = true
		violations, imports, err := checkDir(filepath.Join(root, dir), module)
		if errors.Is(err, os.ErrNotExist) && slices.Contains(dirs, dir) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, violations...)
		queue = append(queue, imports...)
	}
	return found, nil
}

// checkDir examines one package and returns the directories of the module's packages that it imports.
func checkDir(dir, module string) ([]Violation, []string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the package %s: %w", dir, err)
	}
	var found []Violation
	var imports []string
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, filepath.Join(dir, e.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, nil, fmt.Errorf("parsing a pure package: %w", err)
		}
		f := fileCheck{fset: fset, module: module, names: map[string]string{}}
		f.imports(file)
		ast.Inspect(file, f.node)
		found = append(found, f.found...)
		imports = append(imports, f.inside...)
	}
	return found, imports, nil
}

// fileCheck is the state of the examination of one file.
type fileCheck struct {
	fset   *token.FileSet
	module string
	names  map[string]string // local name of an import -> its path
	inside []string
	found  []Violation
}

func (f *fileCheck) report(at token.Pos, format string, args ...any) {
	f.found = append(f.found, Violation{f.fset.Position(at), fmt.Sprintf(format, args...)})
}

func (f *fileCheck) imports(file *ast.File) {
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has accepted it, so it can be unquoted
		}
		name := path[strings.LastIndexByte(path, '/')+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if dir, ok := strings.CutPrefix(path, f.module+"/"); ok {
			f.inside = append(f.inside, dir)
			continue
		}
		if !allowed[path] {
			f.report(spec.Pos(), "imports %s, which is not on the list for pure packages", path)
			continue
		}
		if name == "." && forbidden[path] != nil {
			f.report(spec.Pos(), "imports the names of %s into its own", path)
		}
		f.names[name] = path
	}
}

func (f *fileCheck) node(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GoStmt:
		f.report(n.Pos(), "starts a goroutine")
	case *ast.SelectorExpr:
		if pkg, ok := n.X.(*ast.Ident); ok && slices.Contains(forbidden[f.names[pkg.Name]], n.Sel.Name) {
			f.report(n.Pos(), "uses %s.%s", f.names[pkg.Name], n.Sel.Name)
		}
	}
	return true
}

package purity

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
)

// pure are the package roots that decide; their sub-packages touch the world.
var pure = []string{
	"events", "projector", "vrf", "ipv6", "migrations",
	"internal/bgp", "internal/bfd", "internal/handover", "internal/dhcp", "internal/audit", "internal/access", "internal/arrival", "internal/bench", "internal/pace", "internal/scale",
	"internal/bench", "internal/bench/report",
}

func TestPackageRootsArePure(t *testing.T) {
	root := testenv.ModuleRoot(t)
	for _, dir := range []string{"events", "projector", "vrf"} {
		if _, err := os.Stat(filepath.Join(root, dir)); err != nil {
			t.Errorf("a package that this test is about is gone: %v", err)
		}
	}
	violations, err := Check(root, "github.com/hostroute/hostroute", pure...)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Error(v)
	}
}

// module writes a module of one pure package with the given source, which may import m/other.
func module(t *testing.T, source string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"p/p.go": "package p\n" + source, "p/p_test.go": "package p\nimport \"os\"\nvar _ = os.Args\n",
		"other/o.go": "package other\nimport \"net\"\nvar _ net.IP\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestCheckFindsWhatIsImpure(t *testing.T) {
	for name, c := range map[string]struct{ source, want string }{
		"nothing":              {"import \"time\"\nvar _ time.Time\nvar Wait = 3 * time.Second\n", ""},
		"a system import":      {"import \"os\"\nvar _ = os.Args\n", "imports os"},
		"a module's import":    {"import \"m/other\"\nvar _ other.X\n", "imports net"},
		"an outside module":    {"import _ \"github.com/vishvananda/netlink\"\n", "imports github.com/vishvananda/netlink"},
		"the clock":            {"import \"time\"\nfunc f() { _ = time.Now() }\n", "uses time.Now"},
		"the clock as a value": {"import \"time\"\nvar now = time.Now\n", "uses time.Now"},
		"the clock renamed":    {"import zeit \"time\"\nvar t = zeit.NewTimer\n", "uses time.NewTimer"},
		"the clock dotted":     {"import . \"time\"\nvar t = Now()\n", "into its own"},
		"a deadline":           {"import \"context\"\nvar _ = context.WithTimeout\n", "uses context.WithTimeout"},
		"a goroutine":          {"func f() { go f() }\n", "starts a goroutine"},
		"printing":             {"import \"fmt\"\nfunc f() { fmt.Println() }\n", "uses fmt.Println"},
		"a field of that name": {"import \"fmt\"\ntype s struct{ Now int }\nfunc f(time s) string { return fmt.Sprint(time.Now) }\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			violations, err := Check(module(t, c.source), "m", "p", "absent")
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" && len(violations) > 0 {
				t.Errorf("found %v in pure code", violations)
			}
			if c.want != "" && (len(violations) != 1 || !strings.Contains(violations[0].What, c.want)) {
				t.Errorf("found %v, want one violation: %s", violations, c.want)
			}
		})
	}
}

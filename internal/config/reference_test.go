package config

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// alternatives turns the reference file into the one that has its commented
// keys too, which is complete and not valid.
func alternatives(s string) string {
	return regexp.MustCompile(`(?m)^( *)#([a-z])`).ReplaceAllString(s, "$1$2")
}

func TestReferenceIsValid(t *testing.T) {
	cfg, err := Parse(strings.NewReader(Reference()))
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.CheckAgent(); err != nil {
		t.Error(err)
	}
	if err := cfg.CheckLog(); err != nil {
		t.Error(err)
	}
}

// TestReferenceDocumentsEveryKey wants every key of the raw structs in the
// file, behind a comment with its default and what is allowed.
func TestReferenceDocumentsEveryKey(t *testing.T) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(alternatives(Reference())), &doc); err != nil {
		t.Fatal(err)
	}
	documented(t, doc.Content[0], reflect.TypeFor[rawConfig](), "")
}

func documented(t *testing.T, n *yaml.Node, typ reflect.Type, key string) {
	t.Helper()
	for i := range typ.NumField() {
		field := typ.Field(i)
		name, ok := field.Tag.Lookup("yaml")
		if !ok {
			continue
		}
		where := join(key, name)
		k, child := find(n, name)
		if k == nil {
			t.Errorf("%s is not in the reference file", where)
			continue
		}
		if allowed, ok := field.Tag.Lookup("allowed"); ok {
			commented(t, where, k.HeadComment, allowed, field.Tag)
			continue
		}
		next := field.Type
		for next.Kind() != reflect.Struct {
			next = next.Elem()
		}
		if child.Kind == yaml.SequenceNode {
			child = child.Content[0]
			if len(child.Content) > 0 && child.Content[0].HeadComment == "" {
				child.Content[0].HeadComment = child.HeadComment
			}
		}
		documented(t, child, next, where)
	}
}

func commented(t *testing.T, key, comment, allowed string, tag reflect.StructTag) {
	t.Helper()
	text := strings.Join(strings.Fields(strings.ReplaceAll(comment, "#", " ")), " ")
	fallback, has := tag.Lookup("default")
	switch {
	case has && fallback == "":
		fallback = `""`
		fallthrough
	case has:
		if !strings.Contains(text, "Default: "+fallback+".") {
			t.Errorf("%s: no %q in %q", key, "Default: "+fallback+".", text)
		}
	case tag.Get("optional") == "" && !strings.Contains(text, "Required"):
		t.Errorf("%s: no \"Required\" in %q", key, text)
	}
	if !strings.Contains(text, "Allowed: "+allowed+".") {
		t.Errorf("%s: no %q in %q", key, "Allowed: "+allowed+".", text)
	}
}

func find(n *yaml.Node, name string) (k, v *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

func TestDumpIsReadBack(t *testing.T) {
	for name, in := range map[string]string{
		"reference": Reference(), "full": full,
		"defaults": "log: {embedded: {}}", "process only": "log: {embedded: {listen: \"\", sync: 2m}}",
		"no metrics": "log: {embedded: {}}\nmetrics: {listen: \"\"}",
	} {
		cfg, err := Parse(strings.NewReader(in))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		readBack(t, cfg)
	}
}

func readBack(t *testing.T, cfg *Config) {
	t.Helper()
	var out bytes.Buffer
	if err := cfg.Dump(&out); err != nil {
		t.Fatal(err)
	}
	again, err := Parse(bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatalf("%v in the dump\n%s", err, out.String())
	}
	if diff := cmp.Diff(cfg, again, compareAddrs); diff != "" {
		t.Errorf("the dump\n%s\ndiffers (-parsed +dumped):\n%s", out.String(), diff)
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hostroute.yaml")
	if err := os.WriteFile(path, []byte("log: {url: x}\nbgp: {hold_time: 1s}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	if err == nil {
		t.Fatal("no error")
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if !strings.HasPrefix(line, path+": line ") {
			t.Errorf("no file in %q", line)
		}
	}
	if _, err := Load(path + "-none"); err == nil || !strings.Contains(err.Error(), path+"-none") {
		t.Errorf("a missing file: %v", err)
	}
}

// FuzzParse wants no panic, and every file that is accepted read back from its
// dump.
func FuzzParse(f *testing.F) {
	f.Add(full)
	f.Add(Reference())
	f.Add("log: {embedded: }\nvrfs: [{name: *a}]")
	f.Add("- 1\n")
	f.Fuzz(func(t *testing.T, in string) {
		if cfg, err := Parse(strings.NewReader(in)); err == nil {
			readBack(t, cfg)
		}
	})
}

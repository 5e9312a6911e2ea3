package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decode reads a file into the raw structs. A mistake in the structure is noted
// and the rest is read on, so that a user sees all of them at once.
func decode(b []byte) (*rawConfig, []*Error) {
	root, err := document(b)
	if err != nil {
		return nil, []*Error{err}
	}
	d := &decoder{}
	raw := &rawConfig{}
	d.section(root, reflect.ValueOf(raw).Elem(), Place{line: 1})
	return raw, d.errs
}

// document parses the one YAML document of a file; nil: it is empty.
func document(b []byte) (*yaml.Node, *Error) {
	y := yaml.NewDecoder(bytes.NewReader(b))
	var doc, more yaml.Node
	if err := y.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, syntaxError(err)
	}
	if err := y.Decode(&more); err == nil {
		return nil, &Error{Line: more.Line, Reason: "more than one YAML document; a configuration is one"}
	} else if !errors.Is(err, io.EOF) {
		return nil, syntaxError(err)
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	return doc.Content[0], nil
}

// syntaxError puts the line of a YAML error into its place. The library counts
// lines from 0 in what its parser says, and from 1 in what its scanner says.
func syntaxError(err error) *Error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if m := regexp.MustCompile(`^line (\d+): (.*)`).FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = m[2]
	}
	if regexp.MustCompile(`^did not find expected (<|node|'-'|key|',')`).MatchString(text) {
		line++
	}
	return &Error{Line: line, Reason: "not YAML: " + text}
}

type decoder struct{ errs []*Error }

func (d *decoder) bad(line int, key, value, format string, args ...any) {
	d.errs = append(d.errs, &Error{Line: line, Key: key, Value: value, Reason: fmt.Sprintf(format, args...)})
}

// section fills a raw struct from a mapping; without one, with defaults.
func (d *decoder) section(n *yaml.Node, v reflect.Value, at Place) {
	v.FieldByName("Place").Set(reflect.ValueOf(at))
	children := d.mapping(n, v.Type(), at)
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, ok := field.Tag.Lookup("yaml")
		if !ok {
			continue
		}
		child := children[name]
		where := Place{key: join(at.key, name), line: at.line}
		if child != nil {
			where.line = child.Line
		}
		d.field(child, v.Field(i), field.Tag, where)
	}
}

func (d *decoder) field(n *yaml.Node, v reflect.Value, tag reflect.StructTag, at Place) {
	switch v.Interface().(type) {
	case value:
		d.scalar(n, v.Addr().Interface().(*value), tag, at)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.section(n, v, at)
	case reflect.Pointer:
		if n != nil {
			v.Set(reflect.New(v.Type().Elem()))
			d.section(n, v.Elem(), at)
		}
	case reflect.Slice:
		d.list(n, v, tag, at)
	}
}

// list fills a slice. Where the key is absent it has its default, items with
// commas between, or stays nil without one.
func (d *decoder) list(n *yaml.Node, v reflect.Value, tag reflect.StructTag, at Place) {
	if n == nil {
		if items, ok := tag.Lookup("default"); ok {
			for item := range strings.SplitSeq(items, ", ") {
				one := value{Place: at, text: item, allowed: tag.Get("allowed")}
				v.Set(reflect.Append(v, reflect.ValueOf(one)))
			}
		}
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.bad(n.Line, at.key, n.Value, "must be a list; write its items one a line after \"- \"")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.field(item, v.Index(i), tag, Place{key: fmt.Sprintf("%s[%d]", at.key, i), line: item.Line})
	}
}

func (d *decoder) scalar(n *yaml.Node, v *value, tag reflect.StructTag, at Place) {
	*v = value{Place: at, text: tag.Get("default"), allowed: tag.Get("allowed")}
	switch {
	case n == nil:
	case n.Kind != yaml.ScalarNode:
		d.bad(n.Line, at.key, "", "must be one value: %s", v.allowed)
		v.text = ""
	case n.Tag == "!!null":
		d.bad(n.Line, at.key, "", "has no value; it must be %s, or leave the key out", v.allowed)
	default:
		v.text, v.set = n.Value, true
	}
}

// mapping gives the children of a mapping by their keys, those only that the
// struct knows.
func (d *decoder) mapping(n *yaml.Node, t reflect.Type, at Place) map[string]*yaml.Node {
	if n == nil || n.Tag == "!!null" {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		d.bad(n.Line, at.key, n.Value, "must be a section with the keys %s", strings.Join(keysOf(t), ", "))
		return nil
	}
	children := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, child := n.Content[i], n.Content[i+1]
		key := join(at.key, name.Value)
		switch old := children[name.Value]; {
		case !slices.Contains(keysOf(t), name.Value):
			d.bad(name.Line, key, "", "unknown key; %s has %s", title(at.key), strings.Join(keysOf(t), ", "))
		case old != nil:
			d.bad(name.Line, key, "", "given twice; the first is in line %d", old.Line)
		case child.Kind == yaml.AliasNode:
			d.bad(child.Line, key, "*"+child.Value, "aliases are not read; write the value out")
		default:
			children[name.Value] = child
		}
	}
	return children
}

// keysOf lists the keys of a section in the order of the struct.
func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		if name, ok := t.Field(i).Tag.Lookup("yaml"); ok {
			keys = append(keys, name)
		}
	}
	return keys
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

func title(key string) string {
	if key == "" {
		return "a configuration"
	}
	return key
}

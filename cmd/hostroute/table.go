package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// table writes aligned columns.
type table struct {
	w     *tabwriter.Writer
	empty string // stands for a cell that is empty
}

// newTable makes a table with headings. What is empty in it is a dash, so that
// columns can be cut.
func newTable(w io.Writer, headings ...string) table {
	t := newSheet(w)
	t.row(anys(headings)...)
	t.empty = "-"
	return t
}

// newSheet makes a table of names and values.
func newSheet(w io.Writer) table {
	return table{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
}

func (t table) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = orDefault(fmt.Sprint(c), t.empty)
	}
	fmt.Fprintln(t.w, strings.Join(texts, "\t"))
}

func (t table) flush() error { return t.w.Flush() }

func anys[T any](list []T) []any {
	cells := make([]any, len(list))
	for i, v := range list {
		cells[i] = v
	}
	return cells
}

// count writes a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// joined writes values with commas between.
func joined[T any](list []T) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ",")
}

// writeJSON writes one value for programs, indented.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// writeLine writes one value as one line, for streams of them.
func writeLine(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

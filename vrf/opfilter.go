package vrf

import (
	"fmt"
	"slices"
)

type (
	// BuildFilter makes the whole filter anew in one transaction, so that there
	// is no moment without one.
	BuildFilter struct {
		Static   FilterStatic
		Elements []FilterElement
		Taps     []string // desired ones, which wait if it fails
	}
	// ChangeFilter changes elements of the filter's sets in one transaction,
	// removing first.
	ChangeFilter struct {
		Add, Remove []FilterElement
		Taps        []string // desired ones that get elements, which wait if it fails
		After       []string // links that must have been released before
	}
)

// filterSubject can't be an interface's name.
const filterSubject = "filter/"

func (o BuildFilter) subject() string  { return filterSubject }
func (o ChangeFilter) subject() string { return filterSubject }
func (o BuildFilter) needs() []string  { return nil }
func (o ChangeFilter) needs() []string { return o.After }
func (o BuildFilter) blocks() bool     { return true } // nothing may forward unfiltered
func (o ChangeFilter) blocks() bool    { return true }

// waiting are the links for which nothing more is done if the filter failed.
func (o BuildFilter) waiting() []string  { return o.Taps }
func (o ChangeFilter) waiting() []string { return o.Taps }

func (o BuildFilter) String() string {
	return fmt.Sprintf("building the filter of guests with %d elements", len(o.Elements))
}

func (o ChangeFilter) String() string {
	links := map[string]bool{}
	var first string
	for _, e := range slices.Concat(o.Add, o.Remove) {
		links[e.Link] = true
		if first == "" || e.Link < first {
			first = e.Link
		}
	}
	if len(links) > 1 {
		first = fmt.Sprintf("%s and %d more", first, len(links)-1)
	}
	return fmt.Sprintf("filtering %s: %d elements added, %d removed", first, len(o.Add), len(o.Remove))
}

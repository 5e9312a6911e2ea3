// Package report turns the samples of a comparison into what people and programs read: a table for terminals and one in
// Markdown, JSON, and plots in SVG.
//
// It is pure: the same samples and header give the same bytes. Nothing is left out: a contender that failed has its row,
// with the reason, and figures are those of the runs that did succeed, with the number of those that didn't. Ratios
// are to BIRD, of medians: 0.25× is a quarter of what BIRD needed. The golden files in testdata are made of samples that
// nobody measured; -update writes them anew.
package report

package main

import (
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/internal/agent"
)

func (a *app) explainCommand() *cobra.Command {
	var vrf string
	c := question(a, "explain IP", "Say in plain words where a packet for an address goes, and why", agent.PathExplain,
		func(args []string) (url.Values, error) {
			q := url.Values{"address": {args[0]}}
			if vrf != "" {
				q.Set("vrf", vrf)
			}
			return q, nil
		}, a.showExplanation)
	c.Long = "Say in plain words where a packet for an address goes from this hypervisor, and why.\nThe exit code is 1 if nothing leads there."
	c.Example = "  hostroute explain 203.0.113.7"
	c.Flags().StringVar(&vrf, "vrf", "", "in one `VRF` only")
	return c
}

// showExplanation writes a sentence a line and a paragraph a VRF.
func (a *app) showExplanation(e agent.Explanation) error {
	paragraphs := make([][]string, 0, len(e.VRFs)+1)
	for _, d := range e.VRFs {
		paragraphs = append(paragraphs, d.Sentences)
	}
	if len(e.Sentences) > 0 {
		paragraphs = append(paragraphs, e.Sentences)
	}
	for i, sentences := range paragraphs {
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		for _, s := range sentences {
			if _, err := fmt.Fprintln(a.stdout, s); err != nil {
				return err
			}
		}
	}
	return nil
}

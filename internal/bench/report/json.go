package report

import (
	"encoding/json"
	"io"

	"github.com/hostroute/hostroute/internal/bench"
)

// document is the form of the JSON. Its names are for programs of others, so they stay.
type document struct {
	Header  Header         `json:"header"`
	Results []jsonResult   `json:"results"`
	Samples []bench.Sample `json:"samples"`
}

type jsonResult struct {
	Contender string     `json:"contender"`
	Job       bench.Job  `json:"job"`
	Samples   int        `json:"samples"`
	Wall      jsonSpread `json:"wall_seconds"`
	CPU       jsonSpread `json:"cpu_seconds"`
	Peak      jsonSpread `json:"peak_bytes"`
	Settled   jsonSpread `json:"settled_bytes"`
	Failure   string     `json:"failure,omitempty"`
}

type jsonSpread struct {
	Median   float64 `json:"median"`
	Least    float64 `json:"least"`
	Greatest float64 `json:"greatest"`
}

// JSON writes everything: the header, the results, and the samples that they were made of.
func JSON(w io.Writer, h Header, samples []bench.Sample) error {
	d := document{Header: h, Results: []jsonResult{}, Samples: samples}
	if d.Samples == nil {
		d.Samples = []bench.Sample{}
	}
	for _, r := range Summarize(samples) {
		d.Results = append(d.Results, jsonResult{
			Contender: r.Contender, Job: r.Job, Samples: r.Samples, Failure: r.Failure,
			Wall: jsonSpread(r.Wall), CPU: jsonSpread(r.CPU), Peak: jsonSpread(r.Peak), Settled: jsonSpread(r.Settled),
		})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(d)
}

package scale

import (
	"slices"
	"time"
)

// Quantiles of durations.
type Quantiles struct {
	Count int           `json:"count"`
	P50   time.Duration `json:"p50_ns"`
	P99   time.Duration `json:"p99_ns"`
	Last  time.Duration `json:"last_ns"`
}

// QuantilesOf sorts a list and picks from it.
func QuantilesOf(list []time.Duration) Quantiles {
	if len(list) == 0 {
		return Quantiles{}
	}
	slices.Sort(list)
	return Quantiles{len(list), list[len(list)/2], list[len(list)*99/100], list[len(list)-1]}
}

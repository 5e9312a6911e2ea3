package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/bench"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestGolden(t *testing.T) {
	samples := madeUp()
	results, h := Summarize(samples), madeUpHeader()
	for file, write := range map[string]func(io.Writer) error{
		"report.txt":  func(w io.Writer) error { return Text(w, h, samples) },
		"report.md":   func(w io.Writer) error { return Markdown(w, h, samples) },
		"report.json": func(w io.Writer) error { return JSON(w, h, samples) },
		"load.svg":    func(w io.Writer) error { return SVG(w, h, results, Variants(results)[0]) },
	} {
		var got bytes.Buffer
		if err := write(&got); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", file)
		if *update {
			if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s differs; with -update it would be:\n%s", file, got.String())
		}
	}
}

func TestSummaryTakesTheMiddle(t *testing.T) {
	j := bench.Job{Kind: bench.Load, Family: 4, Routes: 10, Reflectors: 1}
	at := func(round, seconds int, failure string) bench.Sample {
		return bench.Sample{Contender: "bird", Job: j, Round: round, Wall: time.Duration(seconds) * time.Second, Failure: failure}
	}
	for _, tc := range []struct {
		name    string
		samples []bench.Sample
		want    bench.Spread
		n       int
		failure string
	}{
		{"odd", []bench.Sample{at(1, 9, ""), at(2, 1, ""), at(3, 4, "")}, bench.Spread{Median: 4, Least: 1, Greatest: 9}, 3, ""},
		{"even", []bench.Sample{at(1, 1, ""), at(2, 4, "")}, bench.Spread{Median: 2.5, Least: 1, Greatest: 4}, 2, ""},
		{"a failure has no part", []bench.Sample{at(1, 1, ""), at(2, 500, "died")}, bench.Spread{Median: 1, Least: 1, Greatest: 1}, 1, "1 of 2 failed: died"},
		{"nothing but failures", []bench.Sample{at(1, 120, "died")}, bench.Spread{Median: 120, Least: 120, Greatest: 120}, 0, "died"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Summarize(tc.samples)
			if len(got) != 1 || got[0].Wall != tc.want || got[0].Samples != tc.n || got[0].Failure != tc.failure {
				t.Errorf("got %+v, want %+v of %d samples, %q", got, tc.want, tc.n, tc.failure)
			}
		})
	}
}

func TestOrderIsThatOfTheFirstSamples(t *testing.T) {
	var order []string
	for _, r := range Summarize(madeUp()) {
		if r.Job.Routes == 500_000 && r.Job.Kind == bench.Load {
			order = append(order, r.Contender)
		}
	}
	if !slices.Equal(order, []string{"hostroute", "bird", "frr"}) {
		t.Errorf("order: %v", order)
	}
}

func TestJSONIsReadByPrograms(t *testing.T) {
	var b bytes.Buffer
	if err := JSON(&b, Header{}, nil); err != nil {
		t.Fatal(err)
	}
	var d struct {
		Results, Samples []any
	}
	if err := json.Unmarshal(b.Bytes(), &d); err != nil || d.Results == nil || d.Samples == nil {
		t.Errorf("without samples: %v: %s", err, b.String())
	}
}

func TestNothingToPlotWithOneSize(t *testing.T) {
	one := slices.DeleteFunc(madeUp(), func(s bench.Sample) bool { return s.Job.Routes != 500_000 })
	if v := Variants(Summarize(one)); len(v) != 0 {
		t.Errorf("variants: %v", v)
	}
	if v := Variants(Summarize(madeUp())); len(v) != 1 || v[0].Name() != "load-ipv4-random-2rr" {
		t.Errorf("variants: %v", v)
	}
}

func TestPlotIsXMLWhateverTheHeader(t *testing.T) {
	results, h := Summarize(madeUp()), madeUpHeader()
	h.CPU = `A <fast> "one" & more`
	var b bytes.Buffer
	if err := SVG(&b, h, results, Variants(results)[0]); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(&b); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestStepsOfAxes(t *testing.T) {
	for most, want := range map[float64]float64{2e6: 5e5, 1e6: 2e5, 43: 10, 9.9: 2, 0.3: 0.05, 1: 0.2, 600: 100} {
		if got := step(most); got < want*0.999 || got > want*1.001 {
			t.Errorf("step(%g) = %g, want %g", most, got, want)
		}
	}
}

func madeUpHeader() Header {
	return Header{
		Date: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), Kernel: "Linux 9.9.9", CPU: "a made-up CPU", Cores: 2, Memory: 16e9,
		Versions: []string{"hostroute 0.0", "BIRD 2.0.0", "FRR 8.0"}, Rounds: 3,
	}
}

// madeUp are figures that nobody measured.
func madeUp() []bench.Sample {
	var samples []bench.Sample
	add := func(contender string, kind bench.Kind, routes, round int, wall, cpu, megabytes float64, failure string) {
		samples = append(samples, bench.Sample{
			Contender: contender, Round: round, Failure: failure,
			Job:  bench.Job{Kind: kind, Family: 4, Routes: routes, Reflectors: 2},
			Wall: time.Duration(wall * 1e9), CPU: time.Duration(cpu * 1e9), Peak: uint64(megabytes * 1e6), Settled: uint64(megabytes * 0.9e6),
		})
	}
	for round := 1; round <= 3; round++ {
		for _, routes := range []int{100_000, 500_000, 1_000_000, 2_000_000} {
			n, wobble := float64(routes)/1e6, 1+float64(round-2)*0.1
			add("hostroute", bench.Load, routes, round, 4*n*wobble, 5*n*wobble, 30+300*n, "")
			add("bird", bench.Load, routes, round, 16*n*wobble, 15*n*wobble, 10+250*n, "")
			switch {
			case routes <= 500_000 && round == 1:
				add("frr", bench.Load, routes, round, 40*n, 60*n, 100+1600*n, "")
			case routes == 1_000_000 && round == 1:
				add("frr", bench.Load, routes, round, 120, 0, 0, "stopped after 120 s: over the limit")
			}
		}
		add("hostroute", bench.Loss, 1_000_000, round, 0.002, 0.001, 330, "")
		add("hostroute", bench.Change, 1_000_000, round, 3, 0.1, 330, "")
		last := &samples[len(samples)-1]
		last.Delays = &bench.Delays{Count: 100, Median: 400 * time.Microsecond, P99: time.Millisecond, Greatest: time.Duration(round) * time.Millisecond}
		last.Idle = &bench.Delays{Count: 50, Median: 300 * time.Microsecond, P99: 500 * time.Microsecond, Greatest: 600 * time.Microsecond}
		if round == 1 {
			add("hostroute", bench.Restart, 1_000_000, round, 2, 3, 330, "")
			samples[len(samples)-1].Writes, samples[len(samples)-1].Differ = 1010, 1000
		}
		failure := ""
		if round == 2 {
			failure = "it died: signal: killed"
		}
		add("bird", bench.Loss, 1_000_000, round, 12, 11, 260, failure)
	}
	return samples
}

// TestAJobAfterAFailedOneWasNotTried: no time is told that nobody took.
func TestAJobAfterAFailedOneWasNotTried(t *testing.T) {
	failed := bench.Result{Wall: bench.Spread{Greatest: 121}}
	if got := cells(failed, nil); got[3] != "not in 121" {
		t.Errorf("a job that took too long has %q", got)
	}
	if got := cells(bench.Result{}, nil); got[3] != "not tried" {
		t.Errorf("a job that was not begun has %q", got)
	}
}

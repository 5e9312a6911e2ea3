package agent

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// rule is an alert of Prometheus.
type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func rules(t *testing.T) (list []rule) {
	t.Helper()
	b, err := os.ReadFile("../../deploy/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	y := yaml.NewDecoder(bytes.NewReader(b))
	y.KnownFields(true)
	if err := y.Decode(&file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		list = append(list, g.Rules...)
	}
	return list
}

// golden gives the labels of each metric.
func golden(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile(goldenMetrics)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		words := append(strings.Fields(line), "")
		known[words[0]] = strings.Split(words[2], ",")
	}
	return known
}

// family is the metric that a series is of: those of histograms have more of them.
func family(known map[string][]string, name string) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, cut := strings.CutSuffix(name, suffix); cut && known[base] != nil {
			return base
		}
	}
	return name
}

var metricName = regexp.MustCompile(`\bhostroute_[a-z0-9_]+`)

// TestAlertsAreOfMetricsThatExist, with labels that they have; and each says in
// a sentence what is wrong, and what to run.
func TestAlertsAreOfMetricsThatExist(t *testing.T) {
	known, seen := golden(t), map[string]bool{}
	matcher := regexp.MustCompile(`(hostroute_[a-z0-9_]+)\{([a-z]+)="([^"]*)"\}`)
	for _, r := range rules(t) {
		if seen[r.Alert] || !strings.HasPrefix(r.Alert, "Hostroute") {
			t.Errorf("alert %q is there twice, or not named like the others", r.Alert)
		}
		seen[r.Alert] = true
		labels := []string{"instance"}
		for _, name := range metricName.FindAllString(r.Expr, -1) {
			name = family(known, name)
			if known[name] == nil {
				t.Errorf("%s: there is no %s", r.Alert, name)
			}
			labels = append(labels, known[name]...)
		}
		for _, m := range matcher.FindAllStringSubmatch(r.Expr, -1) {
			if !slices.Contains(known[family(known, m[1])], m[2]) {
				t.Errorf("%s: %s has no label %s", r.Alert, m[1], m[2])
			}
		}
		for _, m := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(r.Annotations["summary"], -1) {
			if !slices.Contains(labels, m[1]) {
				t.Errorf("%s: its metrics have no label %s", r.Alert, m[1])
			}
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if !strings.HasSuffix(r.Annotations["summary"], ".") || r.Annotations["command"] == "" {
			t.Errorf("%s: no sentence, or nothing to run: %q", r.Alert, r.Annotations)
		}
	}
	if len(seen) == 0 {
		t.Error("there are no alerts")
	}
}

// TestTheManualListsEveryMetric, and none that isn't.
func TestTheManualListsEveryMetric(t *testing.T) {
	manual, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	listed, known := map[string]bool{}, golden(t)
	for _, name := range metricName.FindAllString(string(manual), -1) {
		listed[family(known, name)] = true
	}
	for name := range known {
		if !listed[name] {
			t.Errorf("docs/operating.md doesn't list %s", name)
		}
		delete(listed, name)
	}
	for name := range listed {
		t.Errorf("docs/operating.md lists %s, which isn't", name)
	}
}

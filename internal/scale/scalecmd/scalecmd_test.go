package scalecmd

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := &cobra.Command{Use: "hostroute", SilenceUsage: true, SilenceErrors: true}
	root.PersistentFlags().Bool("json", false, "")
	root.AddCommand(New())
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs(append([]string{"scale"}, args...))
	err := root.Execute()
	return out.String(), err
}

func TestTextHasEverySection(t *testing.T) {
	text, err := run(t, "--hypervisors", "120", "--guests", "20")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"120 hypervisors of 20 guests", "Inputs", "A hypervisor", "A reflector", "A log", "By size", "power cut", "a plane returns", "Simulated and measured", "2,400"} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q", want)
		}
	}
}

func TestJSONIsWhatWasAskedFor(t *testing.T) {
	text, err := run(t, "--json", "--hypervisors", "120", "--guests", "20", "--events", "7")
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	if r.Plan.Hypervisors != 120 || r.Plan.Events != 7 || len(r.Sizes) != 2 || len(r.Herds) != 6 || len(r.Figures) == 0 || len(r.Inputs) == 0 {
		t.Errorf("%+v", r)
	}
	for _, h := range r.Herds {
		if h.Result.Synced.Count != h.Input.Hypervisors {
			t.Errorf("%s: %d of %d are in sync", h.Name, h.Result.Synced.Count, h.Input.Hypervisors)
		}
	}
	again, err := run(t, "--json", "--hypervisors", "120", "--guests", "20", "--events", "7")
	if err != nil || again != text {
		t.Errorf("another run says something else: %v", err)
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	if _, err := run(t, "--hypervisors", "0"); err == nil || !strings.Contains(err.Error(), "hypervisors is 0") {
		t.Errorf("got %v", err)
	}
}

package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestAlertsNameCommandsThatExist, with flags that they have: at night nobody
// wants to look for them.
func TestAlertsNameCommandsThatExist(t *testing.T) {
	b, err := os.ReadFile("../../deploy/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, line := range regexp.MustCompile(`(?m)^ +command: "?(.*?)"?$`).FindAllStringSubmatch(string(b), -1) {
		for command := range strings.SplitSeq(line[1], "; ") {
			words := strings.Fields(command)
			if words[0] != "hostroute" {
				continue
			}
			found++
			c, rest, err := (&app{env: func(string) string { return "" }, now: time.Now}).root().Find(words[1:])
			if err != nil || c.Name() == "hostroute" {
				t.Errorf("%q: %v", command, err)
				continue
			}
			if err := c.ParseFlags(rest); err != nil {
				t.Errorf("%q: %v", command, err)
			}
		}
	}
	if found == 0 {
		t.Error("no alert names a command")
	}
}

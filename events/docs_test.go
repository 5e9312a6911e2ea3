package events

import (
	"os"
	"strings"
	"testing"
)

// TestDocumentedEventsAreValid parses every example of docs/events.md, and
// wants one of every type.
func TestDocumentedEventsAreValid(t *testing.T) {
	b, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[Type]bool{}
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(line, `{"`) {
			continue
		}
		e, err := Parse([]byte(line))
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		seen[e.Type()] = true
	}
	for _, typ := range Types() {
		if !seen[typ] {
			t.Errorf("docs/events.md has no example of %s", typ)
		}
	}
}

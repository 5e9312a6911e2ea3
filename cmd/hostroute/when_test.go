package main

import (
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	zone := time.FixedZone("CET", 3600)
	now := time.Date(2026, 11, 22, 18, 30, 15, 0, zone)
	for text, want := range map[string]string{
		"2026-11-22T03:12:00Z":            "2026-11-22T03:12:00Z",
		"2026-11-22T03:12:00.123456789Z":  "2026-11-22T03:12:00.123456789Z",
		"2026-11-22T03:12:00-05:00":       "2026-11-22T08:12:00Z",
		"2026-11-22T03:12Z":               "2026-11-22T03:12:00Z",
		"2026-11-22 03:12":                "2026-11-22T02:12:00Z",
		"2026-11-22 03:12:07.5":           "2026-11-22T02:12:07.5Z",
		"2026-11-22 03:12+02:00":          "2026-11-22T01:12:00Z",
		"2026-11-22 03:12 +0200":          "2026-11-22T01:12:00Z",
		"2026-11-22 03:12 UTC":            "2026-11-22T03:12:00Z",
		"2026-11-22 03:12 CET":            "2026-11-22T02:12:00Z",
		"2026-11-22 03:12:00.000+01:00":   "2026-11-22T02:12:00Z",
		"2026-11-21":                      "2026-11-20T23:00:00Z",
		"03:12":                           "2026-11-22T02:12:00Z",
		"03:12:30Z":                       "2026-11-22T03:12:30Z",
		"now":                             "2026-11-22T17:30:15Z",
		"today":                           "2026-11-21T23:00:00Z",
		"Yesterday":                       "2026-11-20T23:00:00Z",
		"-10m":                            "2026-11-22T17:20:15Z",
		"-1h30m":                          "2026-11-22T16:00:15Z",
		"-2d":                             "2026-11-20T17:30:15Z",
		"1d12h ago":                       "2026-11-21T05:30:15Z",
		" 90s ago ":                       "2026-11-22T17:28:45Z",
		"2026-11-22 03:12 +01":            "2026-11-22T02:12:00Z",
		"2026-11-22 03:12 Europe/Berlin":  "2026-11-22T02:12:00Z",
		"2026-07-22 03:12 Europe/Berlin":  "2026-07-22T01:12:00Z",
		"03:12 America/New_York":          "2026-11-22T08:12:00Z",
		"yesterday 03:12":                 "2026-11-21T02:12:00Z",
		"yesterday 03:12:30Z":             "2026-11-21T03:12:30Z",
		"@1795313520":                     "2026-11-22T02:12:00Z",
		"Sun Nov 22 03:12:00 UTC 2026":    "2026-11-22T03:12:00Z",
		"Sun Nov 22 03:12:00 PM CET 2026": "2026-11-22T14:12:00Z",
		"Sun 22 Nov 03:12:00 CET 2026":    "2026-11-22T02:12:00Z",
		"Sun, 22 Nov 2026 03:12:00 GMT":   "2026-11-22T03:12:00Z",
		"Sun, 22 Nov 2026 03:12:00 +0100": "2026-11-22T02:12:00Z",
		"Sun Nov 22 03:12:00 2026":        "2026-11-22T02:12:00Z",
	} {
		got, err := parseTime(text, now)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if s := got.UTC().Format(time.RFC3339Nano); s != want {
			t.Errorf("%q is %s, want %s", text, s, want)
		}
	}
	for _, text := range []string{
		"", "soon", "2026-13-01", "2026-02-30", "25:00", "10m", "-10", "-x", "-1d-2h", "--1h", "ago",
		"2026-11-22 03:12 XYZ", "2026-11-22T03:12:00Z tomorrow", "-9999999999d", "1700000000",
		"@", "@-1", "@soon", "03:12 Europe/Nowhere", "yesterday -10m", "yesterday 25:00", "Sun Nov 22 03:12:00 XYZ 2026", "Europe/Berlin",
	} {
		if got, err := parseTime(text, now); err == nil {
			t.Errorf("%q is read as %s", text, got)
		}
	}
}

func TestStampIsReadBack(t *testing.T) {
	at := time.Date(2026, 3, 1, 4, 5, 6, 789e6, time.UTC)
	got, err := parseTime(stamp(at), time.Now())
	if err != nil || !got.Equal(at) {
		t.Errorf("%s is read as %s, %v", stamp(at), got, err)
	}
}

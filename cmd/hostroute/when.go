package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// timeFlag is a moment on the command line.
type timeFlag struct {
	time.Time
	now func() time.Time
}

// String is the default in help texts: none.
func (t *timeFlag) String() string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

// Set reads the flag.
func (t *timeFlag) Set(s string) (err error) {
	t.Time, err = parseTime(s, t.now())
	return err
}

// Type names the flag's value in help texts.
func (t *timeFlag) Type() string { return "TIME" }

// parseTime reads a moment as people and programs write it: RFC 3339, a date
// with or without a time and a zone, a time of today, "now", "today",
// "yesterday", "yesterday 03:12", a distance to now such as -10m or "2h ago", the
// formats of date(1) and of mail, or @ and seconds since 1970. A zone may also be
// named, as Europe/Berlin. Without one it is local time.
func parseTime(s string, now time.Time) (time.Time, error) {
	text := strings.TrimSpace(s)
	if i := strings.LastIndexByte(text, ' '); i > 0 && strings.ContainsRune(text[i:], '/') {
		if zone, err := time.LoadLocation(text[i+1:]); err == nil {
			return parseTime(text[:i], now.In(zone))
		}
	}
	if day, clock, ok := strings.Cut(text, " "); ok && strings.EqualFold(day, "yesterday") && clockOnly.MatchString(clock) {
		t, err := parseTime(clock, now)
		return t.AddDate(0, 0, -1), err
	}
	if t, ok := parseProgram(text, now); ok {
		return t, nil
	}
	midnight := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	switch strings.ToLower(text) {
	case "now":
		return now, nil
	case "today":
		return midnight, nil
	case "yesterday":
		return midnight.AddDate(0, 0, -1), nil
	}
	if d, ok := parseAgo(text); ok {
		return now.Add(-d), nil
	}
	for _, day := range []string{"2006-01-02T", "2006-01-02 ", ""} {
		for _, clock := range []string{"15:04:05", "15:04"} {
			for _, zone := range []string{"Z07:00", " Z07:00", " -0700", "-0700", " -07", "-07", " MST", ""} {
				t, err := time.ParseInLocation(day+clock+zone, text, now.Location())
				switch {
				case err != nil || !zoneKnown(t, zone, now):
				case day == "":
					return time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location()), nil
				default:
					return t, nil
				}
			}
		}
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, now.Location()); err == nil {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("%q is no time; write it like 2026-11-22T03:12:00Z, \"2026-11-22 03:12\", 03:12, yesterday or -10m", s)
}

// clockOnly is how a time of the day begins.
var clockOnly = regexp.MustCompile(`^\d\d:\d\d`)

// parseProgram reads what programs write: date(1), mail and HTTP, logs.
func parseProgram(text string, now time.Time) (time.Time, bool) {
	if n, err := strconv.ParseInt(strings.TrimPrefix(text, "@"), 10, 64); err == nil && text[0] == '@' && n >= 0 {
		return time.Unix(n, 0).In(now.Location()), true
	}
	for _, layout := range []string{
		time.UnixDate, "Mon Jan _2 03:04:05 PM MST 2006", "Mon _2 Jan 15:04:05 MST 2006", time.RFC1123, time.RFC1123Z, time.ANSIC,
	} {
		t, err := time.ParseInLocation(layout, text, now.Location())
		named := ""
		if strings.Contains(layout, "MST") {
			named = " MST"
		}
		if err == nil && zoneKnown(t, named, now) {
			return t, true
		}
	}
	return time.Time{}, false
}

// zoneKnown refuses an abbreviation that is neither UTC nor of the local zone:
// package time would take it for UTC.
func zoneKnown(t time.Time, layout string, now time.Time) bool {
	if layout != " MST" {
		return true
	}
	name, offset := t.Zone()
	local, _ := t.In(now.Location()).Zone()
	return name == "UTC" || name == "GMT" || name == local && offset != 0
}

// parseAgo reads -10m, -2d, "90s ago" and their like.
func parseAgo(s string) (time.Duration, bool) {
	m := regexp.MustCompile(`^(?:-(\S+)|(\S+) ago)$`).FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	text := m[1] + m[2]
	var days time.Duration
	if whole, rest, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.Atoi(whole)
		if err != nil || n < 0 || n > 100_000 {
			return 0, false
		}
		days, text = time.Duration(n)*24*time.Hour, rest
	}
	if text == "" {
		return days, true
	}
	d, err := time.ParseDuration(text)
	return days + d, err == nil && d >= 0
}

// stamp writes a moment of the log for people, in local time with its zone.
func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05.000Z07:00") }

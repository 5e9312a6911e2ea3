package main

import (
	"errors"
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

// momentText is a moment as a flag has it, a time or a sequence: never empty, as
// a script's variable may be that was to hold one.
type momentText string

// String is the flag's text.
func (m *momentText) String() string { return string(*m) }

// Set takes the flag's text.
func (m *momentText) Set(s string) error {
	if strings.TrimSpace(s) == "" {
		return errors.New("it is empty; leave the flag out, or say when")
	}
	*m = momentText(s)
	return nil
}

// Type names the flag's value in help texts.
func (m *momentText) Type() string { return "TIME|SEQ" }

// parseTime reads a moment as people and programs write it: RFC 3339, a date
// with or without a time and a zone, a time of today, "now", "today",
// "yesterday", "last Tuesday", each also with a time, a distance to now such as
// -10m or "2 hours ago", the formats of date(1), mail and logs, or @ and seconds
// since 1970. A zone may also be named, as Europe/Berlin. Without one it is local
// time.
func parseTime(s string, now time.Time) (time.Time, error) {
	text := strings.TrimSpace(s)
	if i := strings.LastIndexByte(text, ' '); i > 0 && strings.ContainsRune(text[i:], '/') {
		if zone, err := time.LoadLocation(text[i+1:]); err == nil {
			return parseTime(text[:i], now.In(zone))
		}
	}
	midnight := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	if back, clock, ok := parseDay(text, now); ok {
		if clock == "" {
			return midnight.AddDate(0, 0, -back), nil
		}
		t, err := parseTime(clock, now)
		return t.AddDate(0, 0, -back), err
	}
	if strings.EqualFold(text, "now") {
		return now, nil
	}
	if d, ok := parseAgo(text); ok {
		return now.Add(-d), nil
	}
	if t, ok := parseProgram(text, now); ok {
		return t, nil
	}
	if t, ok := parseDate(text, now); ok {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("%q is no time; write it like 2026-11-22T03:12:00Z, \"2026-11-22 03:12\", 03:12, yesterday or -10m", s)
}

// parseDate reads a date and a time of the day, either alone too, and a zone.
func parseDate(text string, now time.Time) (time.Time, bool) {
	for _, day := range []string{"2006-01-02T", "2006-01-02 ", "2006/01/02 ", "20060102T", ""} {
		for _, clock := range []string{"15:04:05", "15:04", "150405", "1504"} {
			if strings.Contains(clock, ":") != (day != "20060102T") {
				continue
			}
			for _, zone := range []string{"Z07:00", " Z07:00", " -0700", "-0700", " -07", "-07", " MST", " -0700 MST", ""} {
				t, err := time.ParseInLocation(day+clock+zone, text, now.Location())
				switch {
				case err != nil || !zoneKnown(t, zone, now):
				case day == "":
					return time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location()), true
				default:
					return t, true
				}
			}
		}
	}
	for _, day := range []string{time.DateOnly, "2006/01/02"} {
		if t, err := time.ParseInLocation(day, text, now.Location()); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

var dayOnly = regexp.MustCompile(`(?i)^(today|yesterday|(?:last )?(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?)(?: (\d\d?:\d\d.*))?$`)

// parseDay reads a day by its name, with the time of the day that may follow. A
// day of the week is the last one before today.
func parseDay(text string, now time.Time) (back int, clock string, ok bool) {
	m := dayOnly.FindStringSubmatch(text)
	if m == nil {
		return 0, "", false
	}
	name := strings.TrimPrefix(strings.ToLower(m[1]), "last ")
	switch name {
	case "today":
		return 0, m[2], true
	case "yesterday":
		return 1, m[2], true
	}
	for back = 1; !strings.EqualFold(now.AddDate(0, 0, -back).Format("Mon"), name[:3]); {
		back++
	}
	return back, m[2], true
}

// parseProgram reads what programs write: date(1), mail and HTTP, logs. A log
// that leaves out the year means the last time that it was that day.
func parseProgram(text string, now time.Time) (time.Time, bool) {
	if n, err := strconv.ParseInt(strings.TrimPrefix(text, "@"), 10, 64); err == nil && text[0] == '@' && n >= 0 {
		return time.Unix(n, 0).In(now.Location()), true
	}
	for _, layout := range []string{
		time.UnixDate, "Mon Jan _2 03:04:05 PM MST 2006", "Mon _2 Jan 15:04:05 MST 2006", "Mon _2 Jan 2006 15:04:05 MST",
		time.RFC1123, time.RFC1123Z, time.ANSIC,
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
	for year := now.Year(); year > now.Year()-2; year-- {
		t, err := time.ParseInLocation("2006 "+time.Stamp, strconv.Itoa(year)+" "+text, now.Location())
		if err == nil && !t.After(now) {
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

var (
	ago      = regexp.MustCompile(`^(?:-([\d.]+ ?[a-zµ].*)|([\d.]+ ?[a-zµ].*) ago)$`)
	distance = regexp.MustCompile(`^ ?([\d.]+) ?([a-zµ]+)`)
)

// units are what people write for those of package time, and days and weeks.
func units() map[string]time.Duration {
	const day = 24 * time.Hour
	return map[string]time.Duration{
		"ns": 1, "us": time.Microsecond, "µs": time.Microsecond, "ms": time.Millisecond,
		"s": time.Second, "sec": time.Second, "secs": time.Second, "second": time.Second, "seconds": time.Second,
		"m": time.Minute, "min": time.Minute, "mins": time.Minute, "minute": time.Minute, "minutes": time.Minute,
		"h": time.Hour, "hour": time.Hour, "hours": time.Hour,
		"d": day, "day": day, "days": day, "w": 7 * day, "week": 7 * day, "weeks": 7 * day,
	}
}

// parseAgo reads -10m, -2d, "90s ago", "2 hours ago" and their like.
func parseAgo(s string) (total time.Duration, ok bool) {
	m := ago.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	known := units()
	for rest := m[1] + m[2]; rest != ""; {
		part := distance.FindStringSubmatch(rest)
		if part == nil {
			return 0, false
		}
		n, err := strconv.ParseFloat(part[1], 64)
		d := n * float64(known[part[2]])
		if err != nil || known[part[2]] == 0 || float64(total)+d > float64(100_000*24*time.Hour) {
			return 0, false
		}
		total, rest = total+time.Duration(d), rest[len(part[0]):]
	}
	return total, true
}

// stamp writes a moment of the log for people, in local time with its zone.
func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05.000Z07:00") }

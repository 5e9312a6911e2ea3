package events

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/hostroute/hostroute/migrations"
)

// Event is one thing that happened. ID, Type, Source and Time are the
// CloudEvents attributes of those names.
type Event struct {
	ID     string
	Source string
	Time   time.Time
	Data   Data
}

// Type is the type of the event's data; empty without data.
func (e Event) Type() Type {
	if e.Data == nil {
		return ""
	}
	return e.Data.Type()
}

// envelope is the JSON of an event as a publisher sends it.
type envelope struct {
	ID   string `json:"id,omitempty"`
	Type Type   `json:"type"`
	// Version is that of the data. Left out it is 1, whatever the newest one is:
	// what a publisher once wrote means the same for ever.
	Version int             `json:"version,omitempty"`
	Source  string          `json:"source,omitempty"`
	Time    *time.Time      `json:"time,omitempty"`
	Data    json.RawMessage `json:"data"`
}

// MarshalJSON gives the form that Parse reads.
func (e Event) MarshalJSON() ([]byte, error) {
	data, err := json.Marshal(e.Data)
	if err != nil {
		return nil, fmt.Errorf("encoding the data of a %s: %w", e.Type(), err)
	}
	env := envelope{ID: e.ID, Type: e.Type(), Source: e.Source, Data: data}
	if v := e.Type().Version(); v > 1 {
		env.Version = v
	}
	if !e.Time.IsZero() {
		utc := e.Time.UTC() // a zone may have seconds, which RFC 3339 has not
		env.Time = &utc
	}
	return json.Marshal(env)
}

// Parse reads and validates one event as a publisher sends it. What is wrong
// comes as an [*Error].
func Parse(b []byte) (Event, error) {
	var env envelope
	if err := decodeStrict(b, &env); err != nil {
		return Event{}, err
	}
	if env.Type == "" {
		return Event{}, invalid("type", "", "missing; one of %s", typeList())
	}
	if env.Version == 0 {
		env.Version = 1
	}
	data, err := DecodeData(env.Type, env.Version, env.Data)
	if err != nil {
		return Event{}, err
	}
	if err := checkKeys(json.NewDecoder(bytes.NewReader(b)), ""); err != nil {
		err.Type = env.Type
		return Event{}, err
	}
	e := Event{ID: env.ID, Source: env.Source, Data: data}
	if env.Time != nil {
		e.Time = *env.Time
	}
	return e, e.Validate()
}

// DecodeData reads the data of an event of type t, of any version up to the
// newest, without judging it. What is wrong comes as an [*Error].
func DecodeData(t Type, version int, b []byte) (Data, error) {
	data := empty(t)
	if data == nil {
		return nil, invalid("type", string(t), "unknown event type; one of %s", typeList())
	}
	if len(b) == 0 || string(b) == "null" {
		return nil, &Error{Code: CodeInvalid, Type: t, Field: "data", Reason: "missing"}
	}
	b, err := upcast(t, version, b)
	if err != nil {
		return nil, err
	}
	if err := decodeStrict(b, data); err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.Type, e.Field = t, strings.TrimSuffix("data."+e.Field, ".")
		}
		return nil, err
	}
	return data, nil
}

// upcast gives data as the newest version has it.
func upcast(t Type, version int, b []byte) ([]byte, error) {
	switch newest := t.Version(); {
	case version == newest:
		return b, nil
	case version < 1 || version > newest:
		return nil, &Error{Code: CodeInvalid, Type: t, Field: "version", Value: strconv.Itoa(version),
			Reason: fmt.Sprintf("%s has versions 1 to %d here; a newer one needs a newer release", t, newest)}
	}
	up, err := migrations.Upcast(string(t), version, b)
	var wrong *migrations.UpcastError
	if errors.As(err, &wrong) {
		return nil, &Error{Code: CodeInvalid, Type: t, Field: strings.TrimSuffix("data."+wrong.Field, "."), Reason: wrong.Reason}
	}
	return up, err
}

// Validate reports what is wrong with the event by itself, as an [*Error].
func (e Event) Validate() error {
	if e.Data == nil {
		return invalid("data", "", "missing")
	}
	err := first(checkOptionalText("id", e.ID), checkOptionalText("source", e.Source), checkTime(e.Time), e.Data.check())
	if err == nil {
		return nil
	}
	err.Type = e.Type()
	return err
}

// checkOptionalText wants printable ASCII, since ids and sources travel as
// message headers.
func checkOptionalText(field, s string) *Error {
	if len(s) > maxText {
		return invalid(field, s[:16]+"…", "%d bytes long; at most %d", len(s), maxText)
	}
	for _, r := range s {
		if r < ' ' || r > '~' {
			return invalid(field, s, "must be printable ASCII")
		}
	}
	if strings.Trim(s, " ") != s {
		return invalid(field, s, "must not begin or end with a space: a header loses it on its way")
	}
	return nil
}

// checkTime wants a time that RFC 3339 can write in UTC, since it travels so.
func checkTime(t time.Time) *Error {
	if y := t.UTC().Year(); y < 1 || y > 9999 {
		return invalid("time", "", "is in the year %d of UTC; at least 1 and at most 9999", y)
	}
	return nil
}

func typeList() string {
	var b strings.Builder
	for i, t := range Types() {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(t))
	}
	return b.String()
}

func decodeStrict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return jsonError(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return invalid("", "", "more than one JSON value; send one object an event")
	}
	return nil
}

// checkKeys refuses what encoding/json lets pass: a field that is given twice,
// of which the last would win, and one that is spelt with capitals.
func checkKeys(d *json.Decoder, path string) *Error {
	start, err := d.Token()
	if err != nil {
		return invalid(path, "", "%v", err)
	}
	delim, _ := start.(json.Delim)
	seen := map[string]bool{}
	for i := 0; delim != 0 && d.More(); i++ {
		at := fmt.Sprintf("%s[%d]", path, i)
		if delim == '{' {
			key, err := d.Token()
			if err != nil {
				return invalid(path, "", "%v", err)
			}
			name := fmt.Sprint(key)
			at = strings.TrimPrefix(path+"."+name, ".")
			switch {
			case strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "":
				return invalid(at, "", "unknown field; names of fields are in lower case")
			case seen[name]:
				return invalid(at, "", "given twice; give it once")
			}
			seen[name] = true
		}
		if err := checkKeys(d, at); err != nil {
			return err
		}
	}
	if delim != 0 {
		if _, err := d.Token(); err != nil { // its end
			return invalid(path, "", "%v", err)
		}
	}
	return nil
}

// jsonError turns an error of encoding/json into one that names field and value.
func jsonError(err error) error {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	var when *time.ParseError // the envelope's is the only time there is
	switch {
	case errors.As(err, &kind):
		return invalid(kind.Field, kind.Value, "must be a JSON %s", jsonKind(kind.Type))
	case errors.As(err, &syntax):
		return invalid("", "", "not JSON at byte %d: %v", syntax.Offset, err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return invalid("", "", "not JSON: it ends too early")
	case errors.As(err, &when):
		return invalid("time", strings.Trim(when.Value, `"`), "must be a time of RFC 3339, such as 2026-11-22T03:12:00Z")
	case strings.HasPrefix(err.Error(), "Time.UnmarshalJSON:"):
		return invalid("time", "", "must be a JSON string, a time of RFC 3339")
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return invalid(strings.Trim(name, `"`), "", "unknown field")
	}
	return invalid("", "", "%v", err)
}

// jsonKind names the JSON kind that a Go type is read from.
func jsonKind(t reflect.Type) string {
	switch kind := t.Kind(); {
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return "string"
	case kind == reflect.Slice:
		return "array"
	case kind == reflect.Struct || kind == reflect.Map:
		return "object"
	case t.ConvertibleTo(reflect.TypeFor[float64]()):
		return "number without a fraction"
	default:
		return kind.String()
	}
}

package migrations_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/migrations"
)

// written are the checksums of the golden files, one for every version of every
// type that was ever written to a log. A new version adds a line; a line never
// changes, since what is in logs out there doesn't.
var written = map[string]string{
	"HypervisorDrained.v1.json":    "86d928bab22331490c3becb3a976860bdf226d95efbd30b8eddde7f4c188e814",
	"HypervisorFenced.v1.json":     "0e36ffb9c8f1628496e12a06b5239798b1ff682f9075a557e6cf4b0310998a27",
	"HypervisorRegistered.v1.json": "41c9689c8fb6a80b77f866a000414e81a7c4b8a5de2692ab3b215c7932f14ad7",
	"HypervisorUndrained.v1.json":  "41c9689c8fb6a80b77f866a000414e81a7c4b8a5de2692ab3b215c7932f14ad7",
	"HypervisorUnfenced.v1.json":   "41c9689c8fb6a80b77f866a000414e81a7c4b8a5de2692ab3b215c7932f14ad7",
	"IPAssigned.v1.json":           "0126a3910e96cfb4d891664ec0f8ca955be0347f7e87a9410809679705c04fbd",
	"IPMoved.v1.json":              "8f8c660b6181eab9c89783f2403a18cc39621ad8a6067b92b67e137cba29bf1c",
	"IPReleased.v1.json":           "f9d862b9e910b131126855c9359271a3aeb218f7d491449f5f89ea647f31355f",
	"NetworkDefined.v1.json":       "ef3de67cf8e19cafca2d6e140d0812bd1c6e3b139cf4f39ab26bb657f54fcb31",
	"NetworkDefined.v2.json":       "988f946183d32760612158d68b89d4eec395b8df9e87231553000dfdbd6b1856",
	"NetworkRemoved.v1.json":       "7a16e92a5fb1b48ff9f0bffa123749ece06842a6dd7e64a6d4a32baa3527ef18",
	"VMCreated.v1.json":            "8d3639556a58130df46bc1aae644e5b6dac6921c0821fe8e239bca718a39be55",
	"VMDeleted.v1.json":            "229a5a6bb86693ee20c935ba6fbc9bd83febc9ed77fe53795ebb805359980e9a",
	"VMMigrated.v1.json":           "3f5818e49e8609f76dbd434a7e8831ba19cd17329c3b19b373fd6195029d2971",
	"VMMigrationAborted.v1.json":   "229a5a6bb86693ee20c935ba6fbc9bd83febc9ed77fe53795ebb805359980e9a",
	"VMMigrationStarted.v1.json":   "3f5818e49e8609f76dbd434a7e8831ba19cd17329c3b19b373fd6195029d2971",
}

func golden(t *testing.T, typ events.Type, version int) []byte {
	t.Helper()
	name := fmt.Sprintf("%s.v%d.json", typ, version)
	b, err := os.ReadFile(filepath.Join("testdata/schemas", name))
	if err != nil {
		t.Fatalf("version %d of %s has no golden file: %v", version, typ, err)
	}
	sum := sha256.Sum256(b)
	if have := hex.EncodeToString(sum[:]); have != written[name] {
		t.Errorf("%s has the checksum %s, and %q is written down: a new file adds a line, an old one never changes", name, have, written[name])
	}
	return bytes.TrimSpace(b)
}

// TestEveryVersionEverWrittenIsRead takes what is in logs through the up-casters
// and wants of every version the same, to the byte: the newest as it is written.
func TestEveryVersionEverWrittenIsRead(t *testing.T) {
	seen := map[string]bool{}
	for _, typ := range events.Types() {
		newest := golden(t, typ, typ.Version())
		for v := 1; v <= typ.Version(); v++ {
			seen[fmt.Sprintf("%s.v%d.json", typ, v)] = true
			old := golden(t, typ, v)
			up, err := migrations.Upcast(string(typ), v, old)
			if err != nil {
				t.Errorf("%s version %d: %v", typ, v, err)
				continue
			}
			if !bytes.Equal(up, newest) {
				t.Errorf("%s version %d is read as\n%s\nwant\n%s", typ, v, up, newest)
			}
		}
		if _, err := migrations.Upcast(string(typ), typ.Version()+1, newest); err == nil {
			t.Errorf("%s: a version of the future is read", typ)
		}
		whole(t, typ, newest)
	}
	for name := range written {
		if !seen[name] {
			t.Errorf("%s is written down, and no code reads it: versions are never dropped", name)
		}
	}
	files, err := os.ReadDir("testdata/schemas")
	if err != nil || len(files) != len(seen) {
		t.Errorf("there are %d files for %d versions: %v", len(files), len(seen), err)
	}
}

// whole wants the newest golden file of a type to be valid, to be what this code
// writes, and to have every field: one that it lacks could change unnoticed.
func whole(t *testing.T, typ events.Type, newest []byte) {
	t.Helper()
	data, err := events.DecodeData(typ, typ.Version(), newest)
	if err != nil {
		t.Fatal(err)
	}
	if err := (events.Event{Data: data}).Validate(); err != nil {
		t.Errorf("%s: %v", typ, err)
	}
	if again, err := json.Marshal(data); err != nil || !bytes.Equal(again, newest) {
		t.Errorf("%s is written as\n%s\nwant\n%s (%v)", typ, again, newest, err)
	}
	fields(t, string(typ), reflect.ValueOf(data).Elem())
}

func fields(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		f, name := v.Field(i), path+"."+v.Type().Field(i).Name
		switch {
		case f.IsZero():
			t.Errorf("the golden file says nothing of %s", name)
		case f.Kind() == reflect.Struct && strings.Contains(string(v.Type().Field(i).Tag), "omitzero"):
			fields(t, name, f)
		}
	}
}

func TestUpcastNetworkDefined(t *testing.T) {
	for name, c := range map[string]struct{ from, to string }{
		"neither":         {`{"network":"n","mtu":1500}`, `{"network":"n","mtu":1500}`},
		"style":           {`{"network":"n","ipv6":"dhcp","routes":["::/0"]}`, `{"network":"n","ipv6":{"style":"dhcp"},"routes":["::/0"]}`},
		"block":           {`{"ra":{"interval":200},"routes":[]}`, `{"ipv6":{"interval":200},"routes":[]}`},
		"the other way":   {`{"ra":{"interval":200},"mtu":1400,"ipv6":"shared"}`, `{"ipv6":{"style":"shared","interval":200},"mtu":1400}`},
		"nothing said":    {`{"network":"n","ipv6":null,"ra":{}}`, `{"network":"n"}`},
		"null":            {`null`, `null`},
		"unknown is kept": {`{"x":{"b": 1,"a":2},"ipv6":"slaac"}`, `{"x":{"b": 1,"a":2},"ipv6":{"style":"slaac"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			if have, err := migrations.Upcast("NetworkDefined", 1, []byte(c.from)); err != nil || string(have) != c.to {
				t.Errorf("%s becomes %s, %v; want %s", c.from, have, err, c.to)
			}
			if have, err := migrations.UpcastState("NetworkDefined", 1, "hr.net.n", []byte(c.from)); err != nil || string(have) != c.to {
				t.Errorf("as a register, %s becomes %s, %v", c.from, have, err)
			}
			if have, err := migrations.UpcastRegister("hr.net.n", 1, []byte(c.from)); err != nil || string(have) != c.to {
				t.Errorf("as a kept register, %s becomes %s, %v", c.from, have, err)
			}
			if have, err := migrations.UpcastState("NetworkDefined", 1, "hr.vrf.v", []byte(c.from)); err != nil || string(have) != c.from {
				t.Errorf("a register without it, %s, becomes %s, %v", c.from, have, err)
			}
		})
	}
}

func TestUpcastRefusesWhatIsNotOfThatVersion(t *testing.T) {
	for name, c := range map[string]struct{ from, field, reason string }{
		"version 2":     {`{"ipv6":{"style":"dhcp"}}`, "ipv6", `"version": 2`},
		"a number":      {`{"ipv6":7}`, "ipv6", "is a text in version 1"},
		"ra as a text":  {`{"ra":"high"}`, "ra", "must be a JSON object"},
		"style in ra":   {`{"ra":{"style":"dhcp"}}`, "ra.style", "unknown field"},
		"ra twice":      {`{"ra":{},"ra":{}}`, "", "given twice"},
		"twice in ra":   {`{"ra":{"other":true,"other":false}}`, "ra", "given twice"},
		"no object":     {`[]`, "", "must be a JSON object"},
		"two values":    {`{} {}`, "", "something follows"},
		"cut off":       {`{"ra":{`, "", "not JSON"},
		"nothing":       {``, "", "must be a JSON object"},
		"cut off value": {`{"a":`, "", "not JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := migrations.Upcast("NetworkDefined", 1, []byte(c.from))
			var wrong *migrations.UpcastError
			if !errors.As(err, &wrong) || wrong.Field != c.field || !strings.Contains(wrong.Reason, c.reason) {
				t.Errorf("got %v; want an error of %q: %s", err, c.field, c.reason)
			}
		})
	}
	for _, version := range []int{-1, 0, 3} {
		if _, err := migrations.Upcast("NetworkDefined", version, []byte(`{}`)); err == nil {
			t.Errorf("version %d is read", version)
		}
		if _, err := migrations.UpcastState("NetworkDefined", version, "hr.net.n", []byte(`{}`)); err == nil {
			t.Errorf("a register of version %d is read", version)
		}
		if _, err := migrations.UpcastRegister("hr.net.n", version, []byte(`{}`)); err == nil {
			t.Errorf("a kept register of version %d is read", version)
		}
	}
}

// FuzzUpcast wants no input to make a reader panic, and what comes out to be
// JSON that the newest version reads or refuses.
func FuzzUpcast(f *testing.F) {
	for _, typ := range events.Types() {
		for v := 1; v <= typ.Version(); v++ {
			b, err := os.ReadFile(fmt.Sprintf("testdata/schemas/%s.v%d.json", typ, v))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(typ), v, b)
		}
	}
	f.Fuzz(func(t *testing.T, typ string, version int, data []byte) {
		up, err := migrations.Upcast(typ, version, data)
		if err != nil || version == migrations.Version(typ) {
			return
		}
		if !json.Valid(up) {
			t.Errorf("%q becomes %q, which is no JSON", data, up)
		}
		_, _ = events.DecodeData(events.Type(typ), migrations.Version(typ), up)
	})
}

// TestLayoutHasTheSubjectsOfEvents holds what migrations write out against the
// subjects that publishers use.
func TestLayoutHasTheSubjectsOfEvents(t *testing.T) {
	for _, s := range migrations.Latest() {
		switch s.Name {
		case migrations.Ledger:
			if len(s.Subjects) != 1 || s.Subjects[0] != events.SubjectAll || s.Republish.From != events.SubjectAll {
				t.Errorf("the ledger has subjects %v, republishes %s; want %s", s.Subjects, s.Republish.From, events.SubjectAll)
			}
		case migrations.Feeds:
			if s.Mirror.Filter != events.SubjectFeeds {
				t.Errorf("the feeds mirror %s; want %s", s.Mirror.Filter, events.SubjectFeeds)
			}
		}
	}
}
